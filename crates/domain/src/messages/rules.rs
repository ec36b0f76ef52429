//! The effects of a new message, or of a status change, on its conversation. The functions only change rows in memory and add events to a
//! write set.
//!
//! The effects and the order of events are those of Chatwoot.

use crate::messages::new_message::NewMessage;
use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{
        agent_bot,
        kind::{ConversationStatus, MessageType},
    },
    joined::{Conversation, Inbox, Message, Sender},
};
use parley_types::{id::AccountId, time::Micros};
use serde_json::Value as Json;

use crate::{auth::caller::Caller, messages::automatic, write::WriteSet};

use super::append::store;
pub use super::append::{add_activity, changed_with};

/// Returns whether adding a message might require a template to be rendered: the message's own content or, for an incoming message, the
/// inbox's automatic reply.
pub fn needs_rendering(conversation: &Conversation, new: &NewMessage) -> bool {
    match new.message_type {
        MessageType::Incoming => automatic::has_template(&conversation.inbox.row),
        _ => new.is_template(),
    }
}

/// The text of the activity message that is added when a message from the contact reopens a conversation in an API inbox.
const REOPENED: &str = "System reopened the conversation due to a new incoming message.";

/// Adds a message and applies the rules that it triggers.
pub fn add_message(set: &mut WriteSet, conversation: &mut Conversation, caller: &Caller, mut new: NewMessage) -> Arc<Message> {
    let reopened = new.message_type == MessageType::Incoming && reopen(set, conversation);
    let sender = match new.message_type {
        MessageType::Outgoing => speaker(caller, set.account.id, new.agent_bot.take()),
        _ => Some(Sender::Contact(Arc::clone(&conversation.contact))),
    };
    let message = store(set, conversation, new, sender);
    match message.row.message_type {
        MessageType::Incoming => received(set, conversation),
        MessageType::Outgoing if is_reply(&message) => replied(set, conversation),
        _ => {}
    }
    if reopened {
        add_activity(set, conversation, REOPENED.to_owned());
    }
    if message.row.message_type == MessageType::Incoming && !message.row.private {
        automatic::answer(set, conversation);
    }
    message
}

/// Returns whether a message is a user's reply to the contact: public, and sent neither by an automation rule nor by a campaign.
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

/// Returns the sender of an outgoing message: the bot on whose behalf the caller sends, or the caller.
pub fn speaker(caller: &Caller, account: AccountId, in_name_of: Option<Arc<agent_bot::Model>>) -> Option<Sender> {
    let bot = in_name_of.or_else(|| caller.agent_bot().cloned());
    bot.map(Sender::AgentBot)
        .or_else(|| caller.person(account).cloned().map(Sender::User))
}

/// Returns the status for a new conversation in this inbox, and for a resolved one that is reopened: pending if the inbox has an active
/// agent bot, otherwise open.
pub fn first_status(inbox: &Inbox) -> ConversationStatus {
    if inbox.row.agent_bot_active {
        ConversationStatus::Pending
    } else {
        ConversationStatus::Open
    }
}

/// Sets the status of a conversation and adds the events. Returns whether the status changed. Adding an activity message is up to the
/// caller.
pub fn set_status(set: &mut WriteSet, conversation: &mut Conversation, status: ConversationStatus, until: Option<Micros>) -> bool {
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
        changed_with(set, conversation, EventKind::ConversationStatusChanged, status);
    }
    if !changes.is_empty() {
        changed_with(set, conversation, EventKind::ConversationUpdated, changes);
    }
    moved
}

/// Reopens a resolved or snoozed conversation after a message from its contact, unless the contact is blocked. If an agent bot is active, a
/// resolved conversation becomes pending instead; a pending one stays pending. Returns whether the caller has to add an activity message,
/// which is the case only if a resolved conversation became open.
fn reopen(set: &mut WriteSet, conversation: &mut Conversation) -> bool {
    let asleep = matches!(conversation.row.status, ConversationStatus::Resolved | ConversationStatus::Snoozed);
    let line = conversation.row.status == ConversationStatus::Resolved;
    let status = if line {
        first_status(&conversation.inbox)
    } else {
        ConversationStatus::Open
    };
    let woken = asleep && !conversation.contact.row.blocked && set_status(set, conversation, status, None);
    woken && line && status == ConversationStatus::Open
}

/// Applies the effects of an incoming message: the contact is now waiting for a reply, and the contact's time of last activity is updated.
fn received(set: &mut WriteSet, conversation: &mut Conversation) {
    let at = set.at;
    if conversation.row.waiting_since.is_none() {
        conversation.row.waiting_since = Some(at);
        let change = Change::time("waiting_since", None, Some(at));
        changed_with(set, conversation, EventKind::ConversationUpdated, change.into_iter().collect());
    }
    let before = conversation.contact.row.last_activity_at;
    let contact = Arc::make_mut(&mut conversation.contact);
    contact.row.last_activity_at = Some(at);
    contact.row.updated_at = at;
    contact.row.version = set.next_seq();
    let changes = Change::time("last_activity_at", before, Some(at)).into_iter().collect();
    let subject = Subject::Contact(Arc::clone(&conversation.contact));
    set.emit(PendingEvent {
        kind: EventKind::ContactUpdated,
        subject,
        changes,
    });
}

/// Applies the effects of a reply: the contact is no longer waiting, and if this is the first reply, its time is recorded.
fn replied(set: &mut WriteSet, conversation: &mut Conversation) {
    let first = conversation.row.first_reply_created_at.is_none();
    let before = (conversation.row.first_reply_created_at, conversation.row.waiting_since);
    if first {
        conversation.row.first_reply_created_at = Some(set.at);
    }
    conversation.row.waiting_since = None;
    if first {
        changed_with(set, conversation, EventKind::FirstReplyCreated, Vec::new());
    }
    let changes: Vec<Change> = [
        Change::time("first_reply_created_at", before.0, conversation.row.first_reply_created_at),
        Change::time("waiting_since", before.1, None),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !changes.is_empty() {
        changed_with(set, conversation, EventKind::ConversationUpdated, changes);
    }
}

/// Returns whether automatic assignment has to choose an agent for a conversation.
pub(crate) fn wants_assignment(conversation: &Conversation) -> bool {
    let row = &conversation.row;
    row.status == ConversationStatus::Open && row.assignee_id.is_none() && conversation.inbox.row.enable_auto_assignment
}
