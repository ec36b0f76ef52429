//! The statement that stores a batch of messages on PostgreSQL: the columns of its tables, and one text for each combination of optional
//! parts.

use std::sync::LazyLock;

use crate::write::store::statement::{ClaimingStatement, Column, EVENTS, KEYS};

/// The columns of new messages.
pub const MESSAGES: &[Column] = &[
    ("account_id", "bigint"),
    ("id", "bigint"),
    ("conversation_id", "bigint"),
    ("number", "bigint"),
    ("inbox_id", "bigint"),
    ("message_type", "smallint"),
    ("content", "text"),
    ("content_type", "smallint"),
    ("content_attributes", "jsonb"),
    ("status", "smallint"),
    ("private", "bool"),
    ("source_id", "text"),
    ("unique_source_id", "text"),
    ("sender_type", "smallint"),
    ("sender_id", "bigint"),
    ("additional_attributes", "jsonb"),
    ("created_at", "bigint"),
    ("updated_at", "bigint"),
    ("version", "bigint"),
];

/// The columns that a new message changes in its conversation; the first two are the key.
pub const CONVERSATIONS: &[Column] = &[
    ("account_id", "bigint"),
    ("id", "bigint"),
    ("status", "smallint"),
    ("snoozed_until", "bigint"),
    ("first_reply_created_at", "bigint"),
    ("waiting_since", "bigint"),
    ("last_activity_at", "bigint"),
    ("last_incoming_at", "bigint"),
    ("unread_count", "bigint"),
    ("message_count", "bigint"),
    ("last_message_id", "bigint"),
    ("last_non_activity_message_id", "bigint"),
    ("last_public_message_id", "bigint"),
    ("last_reply_at", "bigint"),
    ("last_template_at", "bigint"),
    ("updated_at", "bigint"),
    ("version", "bigint"),
];

/// The columns that a new message changes in its contact; the first two are the key.
pub const CONTACTS: &[Column] = &[
    ("account_id", "bigint"),
    ("id", "bigint"),
    ("last_activity_at", "bigint"),
    ("updated_at", "bigint"),
    ("version", "bigint"),
];

/// Selects the text. Most batches change no contact and store no response, and every part costs time even without rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether contacts change.
    pub contacts: bool,
    /// Whether responses are stored.
    pub keys: bool,
    /// Whether the claim is left out, for the test that shows what it protects against.
    pub unlocked: bool,
}

/// Returns the text of a shape. Its parameters are the columns of the counters, messages, events, conversations, contacts and responses, in
/// this order.
pub fn text(shape: Shape) -> &'static str {
    static TEXTS: LazyLock<[String; 8]> = LazyLock::new(|| {
        std::array::from_fn(|bits| {
            write(Shape {
                contacts: bits & 1 != 0,
                keys: bits & 2 != 0,
                unlocked: bits & 4 != 0,
            })
        })
    });
    &TEXTS[usize::from(shape.contacts) | usize::from(shape.keys) << 1 | usize::from(shape.unlocked) << 2]
}

fn write(shape: Shape) -> String {
    let mut statement = ClaimingStatement::new(shape.unlocked);
    statement.insert("m", "messages", MESSAGES);
    statement.insert("e", "events", EVENTS);
    statement.update("v", "conversations", CONVERSATIONS);
    if shape.contacts {
        statement.update("p", "contacts", CONTACTS);
    }
    if shape.keys {
        statement.insert("k", "idempotency_keys", KEYS);
    }
    statement.finish()
}
