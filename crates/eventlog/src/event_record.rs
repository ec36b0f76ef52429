//! Event records: the event in the encoding in which it is sent, and the columns that filters need.

use bytes::Bytes;
use parley_storage::entity::{event, kind::MessageType};
use parley_types::{
    id::{AccountId, ContactId, ConversationId, InboxId, Seq},
    time::Micros,
};
use sea_orm::Set;

use crate::mark::Mark;

/// An event in the log of an account.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    pub account: AccountId,
    pub seq: Seq,
    /// The seq of the first event of the same write.
    pub transaction_id: Seq,
    /// The `EventKind` as a number.
    pub kind: i16,
    /// The inbox of the event's resource, if it has one.
    pub inbox: Option<InboxId>,
    /// The conversation of the event's resource, if it has one.
    pub conversation: Option<ConversationId>,
    /// The contact of the event's resource, if it has one.
    pub contact: Option<ContactId>,
    /// The type of the message that the event is about, or `None` if it is not about a message.
    pub message_type: Option<MessageType>,
    /// Whether the message that the event is about is private, or `None` if the event is not about a message.
    pub private: Option<bool>,
    pub occurred_at: Micros,
    /// The encoded `parley.v1.Event`.
    pub payload: Bytes,
}

impl EventRecord {
    /// Returns the mark of the event. `None` if the payload is not an event.
    pub fn mark(&self) -> Option<Mark> {
        Mark::of_payload(&self.payload)
    }
}

impl From<event::Model> for EventRecord {
    fn from(row: event::Model) -> Self {
        Self {
            account: row.account_id,
            seq: row.seq,
            transaction_id: row.transaction_id,
            kind: row.kind,
            inbox: row.inbox_id,
            conversation: row.conversation_id,
            contact: row.contact_id,
            message_type: row.message_type,
            private: row.private,
            occurred_at: row.occurred_at,
            payload: row.payload.into(),
        }
    }
}

impl From<&EventRecord> for event::ActiveModel {
    fn from(entry: &EventRecord) -> Self {
        Self {
            account_id: Set(entry.account),
            seq: Set(entry.seq),
            transaction_id: Set(entry.transaction_id),
            kind: Set(entry.kind),
            inbox_id: Set(entry.inbox),
            conversation_id: Set(entry.conversation),
            contact_id: Set(entry.contact),
            message_type: Set(entry.message_type),
            private: Set(entry.private),
            occurred_at: Set(entry.occurred_at),
            payload: Set(entry.payload.to_vec()),
        }
    }
}
