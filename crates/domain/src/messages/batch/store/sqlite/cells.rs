//! The values of messages, conversations and contacts on SQLite, in the order of their column lists.

use parley_storage::entity::{contact, conversation, message};

use super::super::columns::{CONTACTS, CONVERSATIONS, MESSAGES};
use crate::write::store::sqlite::cells::{Cell, maybe, number, time};

/// Returns the values of a message in the order of [`MESSAGES`].
pub fn message(row: &message::Model) -> [Cell<'_>; MESSAGES.len()] {
    [
        number(row.account_id),
        number(row.id),
        number(row.conversation_id),
        number(row.number),
        number(row.inbox_id),
        number(row.message_type as i16),
        (&row.content).into(),
        number(row.content_type as i16),
        row.content_attributes.to_string().into(),
        number(row.status as i16),
        number(row.private),
        (&row.source_id).into(),
        (&row.unique_source_id).into(),
        maybe(row.sender_type.map(|kind| kind as i16)),
        maybe(row.sender_id),
        row.additional_attributes.to_string().into(),
        number(row.created_at.0),
        number(row.updated_at.0),
        number(row.version),
    ]
}

/// Returns the values of a conversation in the order of [`CONVERSATIONS`].
pub fn conversation(row: &conversation::Model) -> [Cell<'static>; CONVERSATIONS.len()] {
    [
        number(row.account_id),
        number(row.id),
        number(row.status as i16),
        time(row.snoozed_until),
        time(row.first_reply_created_at),
        time(row.waiting_since),
        number(row.last_activity_at.0),
        time(row.last_incoming_at),
        number(row.unread_count),
        number(row.message_count),
        maybe(row.last_message_id),
        maybe(row.last_non_activity_message_id),
        maybe(row.last_public_message_id),
        time(row.last_reply_at),
        time(row.last_template_at),
        number(row.updated_at.0),
        number(row.version),
    ]
}

/// Returns the values of a contact in the order of [`CONTACTS`].
pub fn contact(row: &contact::Model) -> [Cell<'static>; CONTACTS.len()] {
    [
        number(row.account_id),
        number(row.id),
        time(row.last_activity_at),
        number(row.updated_at.0),
        number(row.version),
    ]
}
