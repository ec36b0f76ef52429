//! Conversations as contacts see them: with their newest messages, except private notes and activity messages.

use std::{collections::HashMap, sync::Arc};

use parley_eventlog::cursor::Cursor;
use parley_fault::Protection;
use parley_storage::{
    Dialect,
    entity::{
        conversation,
        kind::{ConversationStatus, MessageType},
        message,
    },
    joined::{Conversation, Message},
    load,
    octets::{PAGE_BYTES, around_conversation, octets},
};
use parley_types::{
    error::Result,
    id::{AccountId, ConversationId, MessageId},
};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder};
use serde_json::{Map, Value as Json};

use super::ContactSession;
use crate::{
    context::Context,
    conversations::{
        Conversations, NewConversation, NewTyping,
        answers::{CreatedConversation, StatusSet},
        rows::save,
        seen::{mark_read, seen},
    },
    page::{self, Page, PageRequest, Sort},
    write::call::{Answer, Call},
};

/// Maximum number of messages returned with a single conversation.
pub const MESSAGES: u64 = 1000;

/// Maximum number of messages returned with each conversation in a list.
pub const MESSAGES_IN_LIST: u64 = 100;

/// Maximum total size in bytes of the messages returned with each conversation in a list. The newest message is returned even if it is
/// larger.
const BYTES_IN_LIST: i64 = 256 * 1024;

/// The number of conversations whose messages are read with one statement. Together with [`BYTES_IN_LIST`], this bounds how much is read
/// before a page is truncated.
const AT_ONCE: usize = 25;

/// The newest messages of a conversation that its contact is allowed to see.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Whether messages were left out because of the size limit.
    pub cut: bool,
}

/// A conversation with the messages that its contact is allowed to see.
#[derive(Clone, Debug)]
pub struct VisibleConversation {
    pub conversation: Conversation,
    pub newest: Newest,
}

/// Limits on the messages that are returned with a conversation.
#[derive(Clone, Copy)]
struct MessageLimits {
    messages: u64,
    bytes: i64,
}

#[derive(FromQueryResult)]
struct MessageSize {
    id: MessageId,
    conversation_id: ConversationId,
    bytes: i64,
}

/// Reads the newest messages of each conversation, except private notes and activity messages, up to the limits in `limits` per conversation;
/// the newest message is always included. Reads [`AT_ONCE`] conversations at a time, and stops once the total size reaches [`PAGE_BYTES`].
/// Also returns how many conversations were processed.
async fn newest(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: &[ConversationId],
    limits: MessageLimits,
) -> Result<(HashMap<ConversationId, Newest>, usize)> {
    let dialect = Dialect::of(db);
    let octets = octets::<message::Entity>(dialect, "messages");
    let (mut newest, mut bytes): (HashMap<ConversationId, Newest>, i64) = (HashMap::new(), 0);
    let (mut looked_at, each) = (0, limits.messages);
    for some in ids.chunks(AT_ONCE) {
        if bytes >= PAGE_BYTES && parley_fault::is_on(Protection::PageBytes) {
            break;
        }
        looked_at += some.len();
        // Ids are integers from the database, so embedding them in the statement without placeholders is safe.
        let one = |id: &ConversationId| {
            let activity = MessageType::Activity as i16;
            format!(
                "SELECT id, conversation_id, bytes FROM (SELECT id, conversation_id, CAST({octets} AS BIGINT) AS bytes FROM messages \
                 WHERE account_id = {account} AND conversation_id = {id} AND NOT private AND message_type <> {activity} \
                 ORDER BY id DESC LIMIT {each}) AS c{id}"
            )
        };
        let sql = some.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
        let mut found = MessageSize::find_by_statement(dialect.unbound_statement(sql)).all(db).await?;
        found.sort_unstable_by_key(|found| std::cmp::Reverse(found.id));
        let mut taken: HashMap<ConversationId, i64> = HashMap::new();
        let mut shown = Vec::with_capacity(found.len());
        for message in found {
            let newest = newest.entry(message.conversation_id).or_default();
            let of_conversation = taken.entry(message.conversation_id).or_default();
            let first = *of_conversation == 0;
            *of_conversation += message.bytes.max(1);
            newest.cut |= !first && *of_conversation > limits.bytes && parley_fault::is_on(Protection::PageBytes);
            if !newest.cut {
                bytes += message.bytes;
                shown.push(message.id.0);
            }
        }
        let rows = message::Entity::find()
            .filter(message::Column::AccountId.eq(account))
            .filter(message::Column::Id.is_in(shown))
            .order_by_asc(message::Column::Id)
            .all(db)
            .await?;
        for message in load::with_senders(db, account, rows).await? {
            newest.entry(message.row.conversation_id).or_default().messages.push(message);
        }
    }
    Ok((newest, looked_at))
}

/// The operations that visitors can perform on conversations.
#[derive(Clone, Debug)]
pub struct VisitorConversations {
    context: Arc<Context>,
    conversations: Conversations,
}

impl VisitorConversations {
    pub(crate) fn new(context: &Arc<Context>, conversations: Conversations) -> Self {
        Self {
            context: Arc::clone(context),
            conversations,
        }
    }

    /// Returns a page of the conversations that a session can access: its own and, if the session is verified, those of
    /// [`ContactSession::others`]. The conversations are sorted by number, and contain their newest messages if `with_messages` is set.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Database`] if a query fails.
    pub async fn list(&self, visitor: &ContactSession, with_messages: bool, page: &PageRequest) -> Result<Page<VisibleConversation>> {
        use conversation::Column;
        let (db, row) = (self.context.db.read(), &visitor.client.row);
        let everything = row
            .hmac_verified
            .then(|| Column::ContactInboxId.is_in(visitor.others().iter().map(|id| id.0)));
        let visible = Condition::any().add(Column::ContactInboxId.eq(row.id)).add_option(everything);
        let query = conversation::Entity::find()
            .filter(Column::AccountId.eq(row.account_id))
            .filter(visible);
        let ids = page::ids(db, query, Column::Id, &Sort::by_id(false), page).await?;
        let all = conversation::Entity::find().filter(Column::AccountId.eq(row.account_id));
        let mut ids = page::fitting(db, all, Column::Id, Some(around_conversation(self.context.db.dialect())), ids).await?;
        let numbers: Vec<ConversationId> = ids.items.iter().copied().map(ConversationId).collect();
        let limits = MessageLimits {
            messages: MESSAGES_IN_LIST,
            bytes: BYTES_IN_LIST,
        };
        let (mut found, looked_at) = if with_messages {
            newest(db, row.account_id, &numbers, limits).await?
        } else {
            (HashMap::new(), numbers.len())
        };
        ids.truncate(looked_at);
        let account = load::account(db, row.account_id).await?;
        let conversations = load::conversations(db, &account, &numbers[..ids.items.len()]).await?;
        let conversations = ids.with(conversations, |conversation: &Conversation| conversation.row.id.0);
        Ok(conversations.map(|conversation| VisibleConversation {
            newest: found.remove(&conversation.row.id).unwrap_or_default(),
            conversation,
        }))
    }

    /// Returns one conversation with its newest messages, except private notes and activity messages.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if the conversation does not exist or the session cannot access it.
    pub async fn get(&self, visitor: &ContactSession, id: ConversationId) -> Result<VisibleConversation> {
        let summary = self.conversations.get(&visitor.caller, visitor.account(), id).await?;
        self.with_messages(summary.conversation).await
    }

    async fn with_messages(&self, conversation: Conversation) -> Result<VisibleConversation> {
        let newest = self.newest_messages(conversation.account.id, conversation.row.id).await?;
        Ok(VisibleConversation { conversation, newest })
    }

    /// Creates a conversation in the session. In an inbox that is locked to a single conversation, returns the newest conversation instead.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if the inbox or the session no longer exists.
    pub async fn create(
        &self,
        call: Call<CreatedConversation>,
        visitor: &ContactSession,
        custom_attributes: Map<String, Json>,
    ) -> Result<Answer<CreatedConversation>> {
        let new = NewConversation {
            inbox: Some(visitor.client.inbox.row.id),
            contact: None,
            source_id: Some(visitor.client.row.source_id.clone()),
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
        self.conversations.create(call, new).await
    }

    /// Resolves a conversation on behalf of its contact.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if the conversation does not exist or the session cannot access it.
    pub async fn resolve(&self, call: Call<StatusSet>, id: ConversationId) -> Result<Answer<StatusSet>> {
        self.conversations
            .update_status(call, id, Some(ConversationStatus::Resolved), None)
            .await
    }

    /// Notifies subscribers that the contact started or stopped typing. Returns the head of the event log.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if the conversation does not exist or the session cannot access it.
    pub async fn set_typing(&self, visitor: &ContactSession, id: ConversationId, typing: bool) -> Result<Cursor> {
        let typing = NewTyping {
            typing,
            private: false,
            by_contact: true,
        };
        self.conversations.set_typing(&visitor.caller, visitor.account(), id, typing).await
    }

    /// Returns the newest messages of a conversation that its contact is allowed to see. Used for responses to requests that change the
    /// conversation.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Database`] if a query fails.
    pub async fn newest_messages(&self, account: AccountId, id: ConversationId) -> Result<Newest> {
        let limits = MessageLimits {
            messages: MESSAGES,
            bytes: PAGE_BYTES,
        };
        let (mut found, _) = newest(self.context.db.read(), account, &[id], limits).await?;
        Ok(found.remove(&id).unwrap_or_default())
    }

    /// Records that the contact has seen a conversation, and marks the messages sent to the contact as read.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if the conversation does not exist or the session cannot access it.
    pub async fn mark_seen(&self, call: Call<()>, id: ConversationId) -> Result<Answer<()>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = Arc::clone(write.account());
                    let mut conversation = load::conversation(&write.txn, &account, id).await?;
                    access.conversation(&conversation.row)?;
                    seen(write, &mut conversation, true);
                    save(write, &mut conversation).await?;
                    mark_read(write, &mut conversation).await
                })
            })
            .await
    }
}
