//! Messages as contacts write, read and answer them.

use std::{sync::Arc, time::Duration};

use parley_eventlog::{
    draft::{Change, Draft, Subject},
    kind::EventKind,
};
use parley_storage::{
    entity::{
        kind::{ContentType, MessageStatus, MessageType},
        message,
    },
    joined::{Conversation, Message},
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{ConversationId, MessageId, Seq},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait as _, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr},
};
use serde_json::Value as Json;

use super::Guest;
use crate::{
    Chat,
    conversations::{read_state::seen, save},
    files::claims::NewAttachment,
    messages::{Created, MessagePage, MessageQuery, rules::NewMessage},
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// How long a survey takes answers.
const SURVEY: Duration = Duration::from_hours(14 * 24);
const LATE: &str = "You cannot update the CSAT survey after 14 days";

/// The most messages that one look of the contact marks as read, the newest first: the rest were seen before anybody kept count.
const READ_AT_ONCE: u64 = 1000;

impl Chat {
    /// A page of the messages that the contact may see, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] also out of the session's reach.
    pub async fn client_messages(&self, guest: &Guest, id: ConversationId, before: Option<MessageId>, size: u64) -> Result<MessagePage> {
        let query = MessageQuery {
            before,
            after: None,
            public_only: true,
            size,
        };
        self.messages(&guest.caller, guest.account(), id, query).await
    }

    /// Writes a message as the contact.
    ///
    /// # Errors
    /// [`Error::NotFound`] also out of the session's reach; [`Error::Flood`]; [`Error::Busy`].
    pub async fn create_client_message(
        &self,
        call: Call<Created>,
        id: ConversationId,
        content: Option<String>,
        echo_id: Option<String>,
        uploads: Vec<String>,
    ) -> Result<Answer<Created>> {
        let new = NewMessage {
            content,
            echo_id,
            wanted: uploads.into_iter().map(NewAttachment::Upload).collect(),
            ..NewMessage::text(MessageType::Incoming, String::new())
        };
        self.create_messages(call, vec![(id, new)]).await
    }

    /// Answers an interactive message.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for messages that the contact may not see; [`Error::Precondition`] for a survey that is over.
    pub async fn update_client_message(
        &self,
        call: Call<Message>,
        conversation: ConversationId,
        id: MessageId,
        submitted: Json,
    ) -> Result<Answer<Message>> {
        // What is checked here never changes in a message.
        let message = self.message(&call.caller, call.account, conversation, id).await?;
        let row = &message.row;
        if row.private || row.message_type == MessageType::Activity {
            return Err(Error::not_found("message", id));
        }
        if row.content_type == ContentType::InputCsat && row.created_at < Micros::now().minus(SURVEY) {
            return Err(Error::Precondition(LATE));
        }
        self.change(call, conversation, id, move |row| {
            if let Json::Object(attributes) = &mut row.content_attributes {
                attributes.insert("submitted_values".to_owned(), submitted);
            }
        })
        .await
    }

    /// Notes that the contact looked, and marks what was sent to it as read.
    ///
    /// # Errors
    /// [`Error::NotFound`] also out of the session's reach.
    pub async fn client_looked(&self, call: Call<()>, id: ConversationId) -> Result<Answer<()>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.writer
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

/// The contact has looked: what is not its own and was sent or delivered counts as read, notes and lines too, as Chatwoot has it. Tells of
/// each message.
///
/// # Errors
/// When the database fails.
pub async fn mark_read(write: &mut Write, conversation: &mut Conversation) -> Result<()> {
    use message::Column;
    let account = write.account().id;
    let mut rows = message::Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::ConversationId.eq(conversation.row.id))
        .filter(Column::MessageType.ne(MessageType::Incoming))
        .filter(Column::Status.is_in([MessageStatus::Sent, MessageStatus::Delivered]))
        .order_by_desc(Column::Id)
        .limit(READ_AT_ONCE)
        .all(&write.txn)
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    rows.reverse();
    let first = write.ledger.next_seq();
    let mut versions = CaseStatement::new();
    let mut told = Vec::with_capacity(rows.len());
    for (row, nth) in rows.iter_mut().zip(0..) {
        told.push(Change::new("status", row.status.name(), MessageStatus::Read.name()));
        row.status = MessageStatus::Read;
        row.updated_at = write.ledger.at;
        row.version = Seq(first.0 + nth);
        versions = versions.case(Expr::col(Column::Id).eq(row.id.0), Expr::value(row.version.0));
    }
    message::Entity::update_many()
        .col_expr(Column::Status, Expr::value(MessageStatus::Read as i16))
        .col_expr(Column::UpdatedAt, Expr::value(write.ledger.at.0))
        .col_expr(Column::Version, versions.into())
        .filter(Column::AccountId.eq(account))
        .filter(Column::Id.is_in(rows.iter().map(|row| row.id.0)))
        .exec(&write.txn)
        .await?;
    let messages = load::with_senders(&write.txn, account, rows).await?;
    for (message, change) in messages.into_iter().zip(told) {
        let message = Arc::new(message);
        let newest = conversation.row.last_public_message_id == Some(message.row.id);
        if newest {
            // In its own event it stands once.
            conversation.last_public = None;
        }
        write.ledger.emit(Draft {
            kind: EventKind::MessageUpdated,
            subject: Subject::Message(Arc::clone(&message), conversation.clone()),
            changes: change.into_iter().collect(),
        });
        if newest {
            conversation.last_public = Some(message);
        }
    }
    Ok(())
}
