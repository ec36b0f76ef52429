//! Conversations as contacts see them: with their newest messages, but for private notes and activity lines.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, Statement};
use serde_json::{Map, Value as Json};

use super::Guest;
use crate::{
    chat::call::Answer,
    chat::{
        Chat,
        call::Call,
        conversation_status::StatusSet,
        conversations::{CreatedConversation, NewConversation, NewTyping},
        page::{self, Page, PageRequest, Sort},
    },
    db::{
        entity::{
            conversation,
            kind::{ConversationStatus, MessageType},
            message,
        },
        joined::{Conversation, Message},
        load,
    },
    error::Result,
    events::cursor::Cursor,
    id::{AccountId, ConversationId, MessageId},
};

/// Messages shown with one conversation.
pub const MESSAGES: u64 = 1000;

/// Messages shown with each conversation of a list.
pub const MESSAGES_IN_LIST: u64 = 100;

/// Conversations whose messages one statement finds: databases limit how many selects it may join.
const AT_ONCE: usize = 100;

/// A conversation with the messages that its contact may see, oldest first.
pub type Seen = (Conversation, Vec<Message>);

#[derive(FromQueryResult)]
struct Found {
    id: MessageId,
}

/// The newest public messages of each conversation, a bounded number of each.
async fn newest(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: &[ConversationId],
    each: u64,
) -> Result<HashMap<ConversationId, Vec<Message>>> {
    let mut found: HashMap<ConversationId, Vec<Message>> = HashMap::new();
    for some in ids.chunks(AT_ONCE) {
        // The ids are numbers of ours: they need no placeholders.
        let one = |id: &ConversationId| {
            let activity = MessageType::Activity as i16;
            format!(
                "SELECT id FROM (SELECT id FROM messages WHERE account_id = {account} AND conversation_id = {id} AND NOT private \
                 AND message_type <> {activity} ORDER BY id DESC LIMIT {each}) AS c{id}"
            )
        };
        let sql = some.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
        let ids = Found::find_by_statement(Statement::from_string(db.get_database_backend(), sql))
            .all(db)
            .await?;
        let rows = message::Entity::find()
            .filter(message::Column::AccountId.eq(account))
            .filter(message::Column::Id.is_in(ids.into_iter().map(|found| found.id.0)))
            .order_by_asc(message::Column::Id)
            .all(db)
            .await?;
        for message in load::with_senders(db, account, rows).await? {
            found.entry(message.row.conversation_id).or_default().push(message);
        }
    }
    Ok(found)
}

impl Chat {
    /// The conversations of a session, or, once it is verified, of its contact, by number.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn client_conversations(&self, guest: &Guest, page: &PageRequest) -> Result<Page<Seen>> {
        use conversation::Column;
        let (db, row) = (self.db.read(), &guest.client.row);
        let everything = row.hmac_verified.then(|| Column::ContactId.eq(row.contact_id));
        let reach = Condition::any().add(Column::ContactInboxId.eq(row.id)).add_option(everything);
        let query = conversation::Entity::find()
            .filter(Column::AccountId.eq(row.account_id))
            .filter(reach);
        let ids = page::ids(db, query, Column::Id, &Sort::by_id(false), page).await?;
        let numbers: Vec<ConversationId> = ids.items.iter().copied().map(ConversationId).collect();
        let account = load::account(db, row.account_id).await?;
        let conversations = load::conversations(db, &account, &numbers).await?;
        let conversations = page::in_order(&ids.items, conversations, |conversation| conversation.row.id.0);
        let mut messages = newest(db, account.id, &numbers, MESSAGES_IN_LIST).await?;
        let with = |conversation: Conversation| {
            let messages = messages.remove(&conversation.row.id).unwrap_or_default();
            (conversation, messages)
        };
        Ok(Page {
            items: conversations.into_iter().map(with).collect(),
            next: ids.next,
        })
    }

    /// One conversation.
    ///
    /// # Errors
    /// [`crate::error::Error::NotFound`] also out of the session's reach.
    pub async fn client_conversation(&self, guest: &Guest, id: ConversationId) -> Result<Seen> {
        let summary = self.conversation(&guest.caller, guest.account(), id).await?;
        self.seen(summary.conversation).await
    }

    /// A conversation with its newest messages.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn seen(&self, conversation: Conversation) -> Result<Seen> {
        let id = conversation.row.id;
        let mut messages = newest(self.db.read(), conversation.account.id, &[id], MESSAGES).await?;
        Ok((conversation, messages.remove(&id).unwrap_or_default()))
    }

    /// Makes a conversation of the session, or, in an inbox locked to a single one, finds the newest.
    ///
    /// # Errors
    /// [`crate::error::Error::NotFound`].
    pub async fn create_client_conversation(
        &self,
        call: Call<CreatedConversation>,
        guest: &Guest,
        custom_attributes: Map<String, Json>,
    ) -> Result<Answer<CreatedConversation>> {
        let new = NewConversation {
            inbox: Some(guest.client.inbox.row.id),
            contact: None,
            source_id: Some(guest.client.row.source_id.clone()),
            status: ConversationStatus::Open,
            snoozed_until: None,
            assignee: None,
            team: None,
            priority: None,
            additional_attributes: Map::new(),
            custom_attributes,
            hmac_verified: false,
            message: None,
        };
        self.create_conversation(call, new).await
    }

    /// Resolves a conversation.
    ///
    /// # Errors
    /// [`crate::error::Error::NotFound`] also out of the session's reach.
    pub async fn resolve_client_conversation(&self, call: Call<StatusSet>, id: ConversationId) -> Result<Answer<StatusSet>> {
        self.update_conversation_status(call, id, Some(ConversationStatus::Resolved), None)
            .await
    }

    /// Tells subscribers that the contact types, or stops. Returns the head of the log.
    ///
    /// # Errors
    /// [`crate::error::Error::NotFound`] also out of the session's reach.
    pub async fn set_client_typing(&self, guest: &Guest, id: ConversationId, typing: bool) -> Result<Cursor> {
        let typing = NewTyping {
            typing,
            private: false,
            by_contact: true,
        };
        self.set_typing(&guest.caller, guest.account(), id, typing).await
    }

    /// The messages that belong to the answer of a change.
    ///
    /// # Errors
    /// [`crate::error::Error::NotFound`] if the conversation has gone since.
    pub async fn client_messages_of(&self, account: AccountId, id: ConversationId) -> Result<Vec<Message>> {
        let mut messages = newest(self.db.read(), account, &[id], MESSAGES).await?;
        Ok(messages.remove(&id).unwrap_or_default())
    }
}
