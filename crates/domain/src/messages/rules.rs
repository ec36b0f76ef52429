//! What a new message, or a new status, does to its conversation. Pure: it changes rows in hand and notes what happened.
//!
//! The order of events and the effects are Chatwoot's: the JSON contract's "What a new message does", and the events
//! contract's "Order of emission of one action".

use crate::messages::new_message::NewMessage;
use std::sync::Arc;

use parley_eventlog::{
    draft::{Change, Draft, Subject},
    kind::EventKind,
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
pub fn add_message(ledger: &mut WriteSet, conversation: &mut Conversation, caller: &Caller, mut new: NewMessage) -> Arc<Message> {
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

/// Sets a status and notes it; whether it changed. The line about it is the caller's to add.
pub fn set_status(ledger: &mut WriteSet, conversation: &mut Conversation, status: ConversationStatus, until: Option<Micros>) -> bool {
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

/// A contact who writes is heard again, unless blocked: by the bot, if one answers and the conversation was resolved. Pending ones
/// stay with their bot. Whether a line tells of it: what goes to the bot is not open yet.
fn reopen(ledger: &mut WriteSet, conversation: &mut Conversation) -> bool {
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

/// The contact waits from now on, and was active now.
fn received(ledger: &mut WriteSet, conversation: &mut Conversation) {
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
fn replied(ledger: &mut WriteSet, conversation: &mut Conversation) {
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

/// Whether the inbox of a conversation is to assign an agent to it.
pub(crate) fn wants_assignment(conversation: &Conversation) -> bool {
    let row = &conversation.row;
    row.status == ConversationStatus::Open && row.assignee_id.is_none() && conversation.inbox.row.enable_auto_assignment
}
