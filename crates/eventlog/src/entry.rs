//! An entry of the log: the event as the bytes that are sent, and beside it what filters need.

use bytes::Bytes;
use parley_storage::entity::{event, kind::MessageType};
use parley_types::{
    id::{AccountId, ContactId, ConversationId, InboxId, Seq},
    time::Micros,
};
use sea_orm::Set;

use crate::mark::Mark;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Whose log.
    pub account: AccountId,
    /// Its place.
    pub seq: Seq,
    /// The place of the first event of its write.
    pub transaction_id: Seq,
    /// A number of `EventKind`.
    pub kind: i16,
    /// The inbox it is about.
    pub inbox: Option<InboxId>,
    /// The conversation it is about.
    pub conversation: Option<ConversationId>,
    /// The contact it is about.
    pub contact: Option<ContactId>,
    /// The direction of the message it is about.
    pub message_type: Option<MessageType>,
    /// Whether the message it is about is private.
    pub private: Option<bool>,
    /// When it happened.
    pub occurred_at: Micros,
    /// The encoded `parley.v1.Event`.
    pub payload: Bytes,
}

impl Entry {
    /// What it is recognised by; none for a payload that is no event.
    pub fn mark(&self) -> Option<Mark> {
        Mark::of_payload(&self.payload)
    }
}

impl From<event::Model> for Entry {
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

impl From<&Entry> for event::ActiveModel {
    fn from(entry: &Entry) -> Self {
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
