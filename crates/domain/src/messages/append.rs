//! Appends messages to their conversation and records the resulting changes to the conversation row. The module `rules` applies the further
//! effects of a message.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::{
    entity::{
        kind::{AttachmentState, MessageStatus, MessageType, SenderType},
        message,
    },
    joined::{Conversation, Message, Sender},
};

use super::new_message::NewMessage;
use crate::{
    files::new_attachment::Attached,
    write::{AttachmentClaim, WriteSet},
};

/// Adds an activity message to the conversation.
pub fn add_activity(set: &mut WriteSet, conversation: &mut Conversation, content: String) {
    store(set, conversation, NewMessage::text(MessageType::Activity, content), None);
}

/// Adds an automatic message to the conversation.
pub fn add_template(set: &mut WriteSet, conversation: &mut Conversation, text: NewMessage) {
    store(set, conversation, text, None);
}

/// Marks the conversation as changed and adds an event with the changes.
pub fn changed_with(set: &mut WriteSet, conversation: &mut Conversation, kind: EventKind, changes: Vec<Change>) {
    conversation.row.updated_at = set.at;
    conversation.row.version = set.next_seq();
    set.emit(PendingEvent {
        kind,
        subject: Subject::Conversation(conversation.clone()),
        changes,
    });
}

pub(super) fn store(set: &mut WriteSet, conversation: &mut Conversation, mut new: NewMessage, sender: Option<Sender>) -> Arc<Message> {
    if new.is_template()
        && let Some(text) = new.content.as_deref()
        && let Some(rendered) = set.rendered_text(text, conversation, sender.as_ref())
    {
        new.content = Some(rendered);
    }
    let id = set.allocate_message_id();
    let version = set.next_seq();
    let at = set.at;
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
    set.insert_message(row.clone());
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
            set.insert_attachment(attachment.clone());
        } else {
            set.claim_attachment(AttachmentClaim {
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
    // The event for a public message contains the message itself, which is now the newest public one. The copy of the conversation in that
    // event must therefore not contain the previous newest public message.
    let before = if public { conversation.last_public.take() } else { None };
    set.emit(PendingEvent::new(
        EventKind::MessageCreated,
        Subject::Message(Arc::clone(&message), conversation.clone()),
    ));
    drop(before);
    if public {
        conversation.last_public = Some(Arc::clone(&message));
    }
    message
}
