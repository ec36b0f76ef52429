//! The columns that a batch of messages stores. The statements for both databases are built from these lists.

use crate::write::store::columns::Column;

/// The columns that are stored for each new message, with their PostgreSQL types.
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
