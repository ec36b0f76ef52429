//! The columns that every batch stores: counters, events and responses. The statements for both databases are built from these lists.

/// A column: its name and its PostgreSQL type.
pub type Column = (&'static str, &'static str);

/// The columns for an account's counters: those that a write expects, followed by the new ones that it stores.
pub const COUNTERS: &[Column] = &[
    ("account_id", "bigint"),
    ("epoch", "bigint"),
    ("expected", "bigint"),
    ("head_seq", "bigint"),
    ("last_message_id", "bigint"),
    ("last_occurred_at", "bigint"),
];

/// The columns of the table `events`.
pub const EVENTS: &[Column] = &[
    ("account_id", "bigint"),
    ("seq", "bigint"),
    ("transaction_id", "bigint"),
    ("kind", "smallint"),
    ("inbox_id", "bigint"),
    ("conversation_id", "bigint"),
    ("contact_id", "bigint"),
    ("message_type", "smallint"),
    ("private", "bool"),
    ("occurred_at", "bigint"),
    ("payload", "bytea"),
];

/// The columns of the responses that are stored for idempotency keys.
pub const KEYS: &[Column] = &[
    ("account_id", "bigint"),
    ("request_id", "uuid"),
    ("fingerprint", "bytea"),
    ("response", "bytea"),
    ("created_at", "bigint"),
    ("owner", "uuid"),
    ("contact_id", "bigint"),
];
