//! Messages: create, read, update and delete.

pub(crate) mod append;
pub mod automatic;
pub mod batch;
pub mod liquid;
pub mod new_message;
pub(crate) mod prepare;
pub(crate) mod receipts;
pub mod rules;

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{
        attachment,
        kind::{ContentType, MessageStatus, MessageType},
        message,
    },
    joined::{Conversation, ConversationSummary, Message},
    load,
};
use parley_types::{
    attribute_limits::check_change,
    error::{Error, Result},
    id::{AccountId, ConversationId, MessageId},
};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter};
use serde_json::{Map, Value as Json, json};

use crate::files::rows;
use crate::{
    auth::caller::{Access, Caller},
    context::Context,
    conversations::rows::read_summary,
    messages::{new_message::NewMessage, receipts::is_taken, rules::speaker},
    write::{
        Write,
        call::{Answer, Call},
        texts::TextRequest,
    },
};

/// The text that replaces the content of a deleted message.
const DELETED: &str = "This message was deleted";

/// Selects messages of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct MessageQuery {
    /// If set, selects only messages with a smaller id.
    pub before: Option<MessageId>,
    /// If set, selects only messages with a greater id. If `before` is also set, the message with this id is included, as in Chatwoot.
    pub after: Option<MessageId>,
    /// Whether private notes and activity messages are left out.
    pub public_only: bool,
    /// The maximum number of messages to return.
    pub size: u64,
}

/// A page of messages, oldest first.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there are more messages beyond the page: newer ones if the query sets `after`, otherwise older ones.
    pub more: bool,
    /// The conversation that contains the messages.
    pub conversation: ConversationSummary,
}

/// The changes to a message; `None` leaves a field unchanged.
#[derive(Clone, Debug, Default)]
pub struct MessagePatch {
    /// The delivery status.
    pub status: Option<MessageStatus>,
    /// Why the delivery failed.
    pub external_error: Option<String>,
    /// Replaces all content attributes.
    pub content_attributes: Option<Map<String, Json>>,
}

/// Messages that were created, in the order of the request.
pub type Created = Vec<Arc<Message>>;

/// Operations on messages.
#[derive(Clone, Debug)]
pub struct Messages {
    context: Arc<Context>,
}

impl Messages {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates messages, possibly in several conversations: either all of them, or none.
    ///
    /// # Errors
    /// [`Error::NotFound`] if a conversation does not exist; [`Error::Denied`] if the caller has no access to its inbox; [`Error::Flood`]
    /// if a conversation has reached its message rate limit; [`Error::Taken`] if another message has the same unique source id;
    /// [`Error::Busy`] if the writer's queue is full or too many templates are being rendered.
    pub async fn create(&self, call: Call<Created>, mut items: Vec<(ConversationId, NewMessage)>) -> Result<Answer<Created>> {
        call.caller.write_access(call.account)?;
        resolve_speakers(self.context.db.read(), call.account, items.iter_mut().map(|(_, new)| new)).await?;
        self.context.files.resolve_uploads(items.iter_mut().map(|(_, new)| new).collect())?;
        if items.iter().any(|(_, new)| new.is_template()) {
            render_templates(self.context.db.read(), &call, &mut items).await?;
        }
        self.context.writer.write_batched(call, items).await
    }

    /// Returns one message.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation or the message does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn get(&self, caller: &Caller, account: AccountId, conversation: ConversationId, id: MessageId) -> Result<Message> {
        let access = caller.access(account)?;
        if access.session_scope.is_some() {
            // The access of a contact session depends on the conversation, not on the inbox.
            read_summary(self.context.db.read(), caller, account, conversation).await?;
        }
        let row = find(self.context.db.read(), account, conversation, id).await?;
        access.inbox(row.inbox_id)?;
        let mut messages = load::with_senders(self.context.db.read(), account, vec![row]).await?;
        messages.pop().ok_or_else(|| Error::not_found("message", id))
    }

    /// Returns a page of a conversation's messages, together with the conversation.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn list(
        &self,
        caller: &Caller,
        account: AccountId,
        conversation: ConversationId,
        query: MessageQuery,
    ) -> Result<MessagePage> {
        use message::Column;
        let summary = read_summary(self.context.db.read(), caller, account, conversation).await?;
        let mut select = message::Entity::find()
            .filter(Column::AccountId.eq(account))
            .filter(Column::ConversationId.eq(conversation));
        if let Some(before) = query.before {
            select = select.filter(Column::Id.lt(before));
        }
        if let Some(after) = query.after {
            // If both bounds are given, the lower one is inclusive, as in Chatwoot.
            select = select.filter(if query.before.is_some() {
                Column::Id.gte(after)
            } else {
                Column::Id.gt(after)
            });
        }
        if query.public_only {
            select = select
                .filter(Column::Private.eq(false))
                .filter(Column::MessageType.ne(MessageType::Activity));
        }
        let forward = query.after.is_some();
        let (mut rows, more) = load::messages_within(self.context.db.read(), select, !forward, query.size).await?;
        if !forward {
            rows.reverse();
        }
        Ok(MessagePage {
            messages: load::with_senders(self.context.db.read(), account, rows).await?,
            more,
            conversation: summary,
        })
    }

    /// Changes a message's delivery status or content attributes. A status that would move the delivery backwards is ignored.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation or the message does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn update(
        &self,
        call: Call<Message>,
        conversation: ConversationId,
        id: MessageId,
        patch: MessagePatch,
    ) -> Result<Answer<Message>> {
        self.change(call, conversation, id, move |row| {
            if let Some(attributes) = patch.content_attributes {
                row.content_attributes = Json::Object(attributes);
            }
            let stored = row.status;
            if let Some(status) = patch.status.filter(|status| is_taken(stored, *status)) {
                row.status = status;
                if let Json::Object(attributes) = &mut row.content_attributes {
                    if status == MessageStatus::Failed {
                        attributes.insert("external_error".to_owned(), json!(patch.external_error));
                    } else if let Some(error) = attributes.get_mut("external_error") {
                        *error = Json::Null;
                    }
                }
            }
        })
        .await
    }

    /// Deletes a message by replacing its content with a fixed text. The message itself remains.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation or the message does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn delete(&self, call: Call<Message>, conversation: ConversationId, id: MessageId) -> Result<Answer<Message>> {
        self.change(call, conversation, id, |row| {
            row.content = Some(DELETED.to_owned());
            row.content_type = ContentType::Text;
            row.content_attributes = json!({"deleted": true});
        })
        .await
    }

    /// Marks a message to be delivered again: resets its status to sent and clears its content attributes.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation or the message does not exist; [`Error::Denied`] if the caller has no access to the inbox.
    pub async fn retry(&self, call: Call<Message>, conversation: ConversationId, id: MessageId) -> Result<Answer<Message>> {
        self.change(call, conversation, id, |row| {
            row.status = MessageStatus::Sent;
            row.content_attributes = json!({});
        })
        .await
    }

    pub(crate) async fn change(
        &self,
        call: Call<Message>,
        conversation: ConversationId,
        id: MessageId,
        patch: impl FnOnce(&mut message::Model) + Send + 'static,
    ) -> Result<Answer<Message>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move { changed(write, &access, conversation, id, patch).await })
            })
            .await
    }
}

/// Renders the templates in new messages with the current values of their conversations. The content of a message stays unchanged if its
/// template cannot be rendered or the caller has no access to the conversation; in the latter case, the writer rejects the message.
async fn render_templates(db: &impl ConnectionTrait, call: &Call<Created>, items: &mut [(ConversationId, NewMessage)]) -> Result<()> {
    let access = call.caller.write_access(call.account)?;
    let account = load::account(db, call.account).await?;
    let mut ids: Vec<ConversationId> = items.iter().filter(|(_, new)| new.is_template()).map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut conversations = load::conversations(db, &account, &ids).await?;
    conversations.retain(|conversation| access.conversation(&conversation.row).is_ok());
    let (mut requests, mut templates) = (Vec::new(), Vec::new());
    for (id, new) in items.iter_mut().filter(|(_, new)| new.is_template()) {
        new.rendered = true;
        if let Some(conversation) = conversations.iter().find(|conversation| conversation.row.id == *id) {
            requests.push(TextRequest {
                text: new.content.clone().unwrap_or_default(),
                conversation: conversation.clone(),
                sender: speaker(&call.caller, call.account, new.agent_bot.clone()),
            });
            templates.push(new);
        }
    }
    let rendered = liquid::render(requests).await?;
    for (new, text) in templates.into_iter().zip(rendered) {
        new.content = text.or(new.content.take());
    }
    Ok(())
}

/// Loads the bots on whose behalf messages are sent. Nothing is read if no message names a bot, which is the usual case.
pub(crate) async fn resolve_speakers(
    db: &impl ConnectionTrait,
    account: AccountId,
    messages: impl Iterator<Item = &mut NewMessage>,
) -> Result<()> {
    let named: Vec<&mut NewMessage> = messages.filter(|new| new.agent_bot_id.is_some()).collect();
    if named.is_empty() {
        return Ok(());
    }
    let bots = load::agent_bots(db, account, named.iter().filter_map(|new| new.agent_bot_id)).await?;
    for new in named {
        new.agent_bot = new.agent_bot_id.and_then(|id| bots.get(&id)).cloned();
    }
    Ok(())
}

async fn find(db: &impl ConnectionTrait, account: AccountId, conversation: ConversationId, id: MessageId) -> Result<message::Model> {
    let row = message::Entity::find_by_id((account, id)).one(db).await?;
    row.filter(|row| row.conversation_id == conversation)
        .ok_or_else(|| Error::not_found("message", id))
}

/// Returns content attributes without the error text of a failed delivery. That text has its own limit, so a delivery can be reported as
/// failed regardless of the size of the other attributes.
fn without_error(attributes: &Json) -> Json {
    let mut attributes = attributes.clone();
    if let Json::Object(map) = &mut attributes {
        map.remove("external_error");
    }
    attributes
}

async fn changed(
    write: &mut Write,
    access: &Access,
    conversation: ConversationId,
    id: MessageId,
    patch: impl FnOnce(&mut message::Model),
) -> Result<Message> {
    let account = Arc::clone(write.account());
    let mut conversation: Conversation = load::conversation(&write.txn, &account, conversation).await?;
    access.conversation(&conversation.row)?;
    let before = find(&write.txn, account.id, conversation.row.id, id).await?;
    let mut row = before.clone();
    patch(&mut row);
    if before.content_attributes != row.content_attributes {
        let (stored, changed) = (&before.content_attributes, &row.content_attributes);
        check_change("content_attributes", &without_error(stored), &without_error(changed))?;
    }
    let changes: Vec<Change> = [
        Change::new("status", before.status.name(), row.status.name()),
        Change::new("content", before.content, row.content.clone()),
        Change::new("content_type", before.content_type.name(), row.content_type.name()),
        Change::new("content_attributes", before.content_attributes, row.content_attributes.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if changes.is_empty() {
        return load::with_senders(&write.txn, account.id, vec![row])
            .await?
            .pop()
            .ok_or_else(|| Error::not_found("message", id));
    }
    row.updated_at = write.set.at;
    row.version = write.set.next_seq();
    if row.content_attributes == json!({"deleted": true}) {
        let attachments = attachment::Column::AccountId
            .eq(account.id)
            .and(attachment::Column::MessageId.eq(id));
        rows::release(&write.txn, attachments).await?;
    }
    let row = row.into_active_model().reset_all().update(&write.txn).await?;
    let mut messages = load::with_senders(&write.txn, account.id, vec![row]).await?;
    let message = messages.pop().ok_or_else(|| Error::not_found("message", id))?;
    if conversation.row.last_public_message_id == Some(id) {
        conversation.last_public = None;
    }
    let subject = Subject::Message(Arc::new(message.clone()), conversation);
    write.set.emit(PendingEvent {
        kind: EventKind::MessageUpdated,
        subject,
        changes,
    });
    Ok(message)
}
