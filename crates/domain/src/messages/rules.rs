//! What a new message, or a new status, does to its conversation. Pure: it changes rows in hand and notes what happened.
//!
//! The order of events and the effects are Chatwoot's: the JSON contract's "What a new message does", and the events
//! contract's "Order of emission of one action".

use std::sync::Arc;

use parley_eventlog::{
    draft::{Change, Draft, Subject},
    kind::EventKind,
};
use parley_storage::{
    entity::{
        agent_bot,
        kind::{AttachmentState, ContentType, ConversationStatus, MessageStatus, MessageType, SenderType},
        message,
    },
    joined::{Conversation, Inbox, Message, Sender},
};
use parley_types::{
    id::{AccountId, AgentBotId},
    time::Micros,
};
use serde_json::{Value as Json, json};

use crate::{
    auth::caller::Caller,
    files::claims::{Attached, Claim, Hanging, NewAttachment},
    messages::{automatic, liquid},
    write::Ledger,
};

/// A message that may be made.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Who speaks to whom.
    pub message_type: MessageType,
    /// The text.
    pub content: Option<String>,
    /// Whether the text is final: it was rendered, if it was a template.
    pub rendered: bool,
    /// What the content is.
    pub content_type: ContentType,
    /// What belongs to the content type; an object.
    pub content_attributes: Json,
    /// Whether it is a note among agents.
    pub private: bool,
    /// The message's id in the caller's own system.
    pub source_id: Option<String>,
    /// Whether that must be unique in the inbox.
    pub unique_source_id: bool,
    /// Handed back, not stored.
    pub echo_id: Option<String>,
    /// Attributes that programs set; an object.
    pub additional_attributes: Json,
    /// The bot in whose name an outgoing one shall be sent.
    pub agent_bot_id: Option<AgentBotId>,
    /// That bot, once it was looked up.
    pub agent_bot: Option<Arc<agent_bot::Model>>,
    /// What shall hang on it.
    pub wanted: Vec<NewAttachment>,
    /// The same, once names were read.
    pub hanging: Vec<Hanging>,
    /// Its rows, once nobody else can take them.
    pub attachments: Vec<Attached>,
}

impl NewMessage {
    /// A public text without anything else.
    pub fn text(message_type: MessageType, content: String) -> Self {
        Self {
            message_type,
            content: Some(content),
            rendered: false,
            content_type: ContentType::Text,
            content_attributes: json!({}),
            private: false,
            source_id: None,
            unique_source_id: false,
            echo_id: None,
            additional_attributes: json!({}),
            agent_bot_id: None,
            agent_bot: None,
            wanted: Vec::new(),
            hanging: Vec::new(),
            attachments: Vec::new(),
        }
    }
}

impl NewMessage {
    /// Whether its text is to be rendered: what is sent to the contact may be a template.
    pub fn is_template(&self) -> bool {
        !self.rendered
            && matches!(self.message_type, MessageType::Outgoing | MessageType::Template)
            && self.content.as_deref().is_some_and(liquid::is_template)
    }
}

/// Whether a new message may need texts rendered for it: its own, or one that its inbox answers with.
pub fn needs_rendering(conversation: &Conversation, new: &NewMessage) -> bool {
    match new.message_type {
        MessageType::Incoming => automatic::has_template(&conversation.inbox.row),
        _ => new.is_template(),
    }
}

/// The text of the line left when a contact's message reopens a conversation of an API inbox.
const REOPENED: &str = "System reopened the conversation due to a new incoming message.";

/// Adds a message and what follows from it.
pub fn add_message(ledger: &mut Ledger, conversation: &mut Conversation, caller: &Caller, mut new: NewMessage) -> Arc<Message> {
    let reopened = new.message_type == MessageType::Incoming && reopen(ledger, conversation);
    let sender = match new.message_type {
        MessageType::Outgoing => speaker(caller, ledger.account.id, new.agent_bot.take()),
        _ => Some(Sender::Contact(Arc::clone(&conversation.contact))),
    };
    let message = store(ledger, conversation, new, sender);
    match message.row.message_type {
        MessageType::Incoming => received(ledger, conversation),
        MessageType::Outgoing if is_reply(&message) => replied(ledger, conversation),
        _ => {}
    }
    if reopened {
        add_activity(ledger, conversation, REOPENED.to_owned());
    }
    if message.row.message_type == MessageType::Incoming && !message.row.private {
        automatic::answer(ledger, conversation);
    }
    message
}

/// Whether a user has answered the contact: publicly, and neither by a rule nor by a campaign.
fn is_reply(message: &Message) -> bool {
    let row = &message.row;
    let says = |attributes: &Json, key: &str| match attributes.get(key) {
        None | Some(Json::Null | Json::Bool(false)) => false,
        Some(Json::String(text)) => !text.trim().is_empty(),
        Some(Json::Array(values)) => !values.is_empty(),
        Some(Json::Object(keys)) => !keys.is_empty(),
        Some(Json::Bool(true) | Json::Number(_)) => true,
    };
    !row.private
        && matches!(message.sender, Some(Sender::User(_)))
        && !says(&row.content_attributes, "automation_rule_id")
        && !says(&row.additional_attributes, "campaign_id")
}

/// Who speaks to the contact: the bot in whose name the caller sends, or the caller.
pub fn speaker(caller: &Caller, account: AccountId, in_name_of: Option<Arc<agent_bot::Model>>) -> Option<Sender> {
    let bot = in_name_of.or_else(|| caller.agent_bot().cloned());
    bot.map(Sender::AgentBot)
        .or_else(|| caller.person(account).cloned().map(Sender::User))
}

/// Where a conversation of this inbox begins, and where it goes on after it was resolved: with the bot, if one answers.
pub fn first_status(inbox: &Inbox) -> ConversationStatus {
    if inbox.row.agent_bot_active {
        ConversationStatus::Pending
    } else {
        ConversationStatus::Open
    }
}

/// Adds a line about a change.
pub fn add_activity(ledger: &mut Ledger, conversation: &mut Conversation, content: String) {
    store(ledger, conversation, NewMessage::text(MessageType::Activity, content), None);
}

/// Adds an automatic text.
pub fn add_template(ledger: &mut Ledger, conversation: &mut Conversation, text: NewMessage) {
    store(ledger, conversation, text, None);
}

/// Sets a status and notes it; whether it changed. The line about it is the caller's to add.
pub fn set_status(ledger: &mut Ledger, conversation: &mut Conversation, status: ConversationStatus, until: Option<Micros>) -> bool {
    let row = &mut conversation.row;
    let before = (row.status, row.snoozed_until, row.waiting_since);
    row.status = status;
    row.snoozed_until = until.filter(|_| status == ConversationStatus::Snoozed);
    if status == ConversationStatus::Resolved {
        row.waiting_since = None;
    }
    let changes: Vec<Change> = [
        Change::new("status", before.0.name(), row.status.name()),
        Change::time("snoozed_until", before.1, row.snoozed_until),
        Change::time("waiting_since", before.2, row.waiting_since),
    ]
    .into_iter()
    .flatten()
    .collect();
    let moved = before.0 != status;
    if moved {
        let status = changes.iter().filter(|change| change.field == "status").cloned().collect();
        changed_with(ledger, conversation, EventKind::ConversationStatusChanged, status);
    }
    if !changes.is_empty() {
        changed_with(ledger, conversation, EventKind::ConversationUpdated, changes);
    }
    moved
}

/// Notes a change of a conversation.
pub fn changed_with(ledger: &mut Ledger, conversation: &mut Conversation, kind: EventKind, changes: Vec<Change>) {
    conversation.row.updated_at = ledger.at;
    conversation.row.version = ledger.next_seq();
    ledger.emit(Draft {
        kind,
        subject: Subject::Conversation(conversation.clone()),
        changes,
    });
}

/// A contact who writes is heard again, unless blocked: by the bot, if one answers and the conversation was resolved. Pending ones
/// stay with their bot. Whether a line tells of it: what goes to the bot is not open yet.
fn reopen(ledger: &mut Ledger, conversation: &mut Conversation) -> bool {
    let asleep = matches!(conversation.row.status, ConversationStatus::Resolved | ConversationStatus::Snoozed);
    let line = conversation.row.status == ConversationStatus::Resolved;
    let status = if line {
        first_status(&conversation.inbox)
    } else {
        ConversationStatus::Open
    };
    let woken = asleep && !conversation.contact.row.blocked && set_status(ledger, conversation, status, None);
    woken && line && status == ConversationStatus::Open
}

fn store(ledger: &mut Ledger, conversation: &mut Conversation, mut new: NewMessage, sender: Option<Sender>) -> Arc<Message> {
    if new.is_template()
        && let Some(text) = new.content.as_deref()
        && let Some(rendered) = ledger.rendered(text, conversation, sender.as_ref())
    {
        new.content = Some(rendered);
    }
    let id = ledger.take_message_id();
    let version = ledger.next_seq();
    let at = ledger.at;
    let row = &mut conversation.row;
    row.message_count += 1;
    row.last_activity_at = at;
    row.updated_at = at;
    row.version = version;
    row.last_message_id = Some(id);
    if new.message_type != MessageType::Activity {
        row.last_non_activity_message_id = Some(id);
    }
    if new.message_type == MessageType::Incoming {
        row.unread_count += 1;
        row.last_incoming_at = Some(at);
    }
    match new.message_type {
        MessageType::Outgoing if !new.private => row.last_reply_at = Some(at),
        MessageType::Template => row.last_template_at = Some(at),
        _ => {}
    }
    let public = !new.private && new.message_type != MessageType::Activity;
    if public {
        row.last_public_message_id = Some(id);
    }
    let (sender_type, sender_id) = match &sender {
        Some(Sender::Contact(contact)) => (Some(SenderType::Contact), Some(contact.row.id.0)),
        Some(Sender::User(user)) => (Some(SenderType::User), Some(user.id.0)),
        Some(Sender::AgentBot(bot)) => (Some(SenderType::AgentBot), Some(bot.id.0)),
        None => (None, None),
    };
    let row = message::Model {
        account_id: row.account_id,
        id,
        conversation_id: row.id,
        number: row.message_count,
        inbox_id: row.inbox_id,
        message_type: new.message_type,
        content: new.content,
        content_type: new.content_type,
        content_attributes: new.content_attributes,
        status: MessageStatus::Sent,
        private: new.private,
        unique_source_id: new.source_id.clone().filter(|_| new.unique_source_id),
        source_id: new.source_id,
        sender_type,
        sender_id,
        additional_attributes: new.additional_attributes,
        created_at: at,
        updated_at: at,
        version,
    };
    ledger.message(row.clone());
    let mut attachments = Vec::with_capacity(new.attachments.len());
    for (
        position,
        Attached {
            row: mut attachment,
            is_new,
        },
    ) in new.attachments.into_iter().enumerate()
    {
        (attachment.state, attachment.message_id) = (AttachmentState::InUse, id);
        if is_new {
            attachment.position = i64::try_from(position).unwrap_or_default();
            ledger.attachment(attachment.clone());
        } else {
            ledger.claim(Claim {
                id: attachment.id,
                message: id,
                position,
            });
        }
        attachments.push(attachment);
    }
    let message = Arc::new(Message {
        row,
        sender,
        attachments,
        echo_id: new.echo_id,
    });
    // In the event of a public message, that message itself is the newest one.
    let before = if public { conversation.last_public.take() } else { None };
    ledger.emit(Draft::new(
        EventKind::MessageCreated,
        Subject::Message(Arc::clone(&message), conversation.clone()),
    ));
    drop(before);
    if public {
        conversation.last_public = Some(Arc::clone(&message));
    }
    message
}

/// The contact waits from now on, and was active now.
fn received(ledger: &mut Ledger, conversation: &mut Conversation) {
    let at = ledger.at;
    if conversation.row.waiting_since.is_none() {
        conversation.row.waiting_since = Some(at);
        let change = Change::time("waiting_since", None, Some(at));
        changed_with(ledger, conversation, EventKind::ConversationUpdated, change.into_iter().collect());
    }
    let before = conversation.contact.row.last_activity_at;
    let contact = Arc::make_mut(&mut conversation.contact);
    contact.row.last_activity_at = Some(at);
    contact.row.updated_at = at;
    contact.row.version = ledger.next_seq();
    let changes = Change::time("last_activity_at", before, Some(at)).into_iter().collect();
    let subject = Subject::Contact(Arc::clone(&conversation.contact));
    ledger.emit(Draft {
        kind: EventKind::ContactUpdated,
        subject,
        changes,
    });
}

/// Nobody waits any more; the first such reply is remembered.
fn replied(ledger: &mut Ledger, conversation: &mut Conversation) {
    let first = conversation.row.first_reply_created_at.is_none();
    let before = (conversation.row.first_reply_created_at, conversation.row.waiting_since);
    if first {
        conversation.row.first_reply_created_at = Some(ledger.at);
    }
    conversation.row.waiting_since = None;
    if first {
        changed_with(ledger, conversation, EventKind::FirstReplyCreated, Vec::new());
    }
    let changes: Vec<Change> = [
        Change::time("first_reply_created_at", before.0, conversation.row.first_reply_created_at),
        Change::time("waiting_since", before.1, None),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !changes.is_empty() {
        changed_with(ledger, conversation, EventKind::ConversationUpdated, changes);
    }
}
