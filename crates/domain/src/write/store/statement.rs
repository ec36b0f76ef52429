//! The one statement that stores a batch on PostgreSQL: its text, made from lists of columns.
//!
//! Each table's rows come as one array per column. The counters are claimed first, in rising order of accounts, and
//! everything else hangs on the claim: rows of accounts whose head has moved are not stored.

use std::{fmt::Write as _, sync::LazyLock};

/// A column: its name, and its type on PostgreSQL.
pub type Column = (&'static str, &'static str);

/// The counters, as they are expected and as they shall be.
pub const COUNTERS: &[Column] = &[
    ("account_id", "bigint"),
    ("epoch", "bigint"),
    ("expected", "bigint"),
    ("head_seq", "bigint"),
    ("last_message_id", "bigint"),
    ("last_occurred_at", "bigint"),
];

/// New messages.
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

/// Events.
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

/// What a message changes in its conversation; the first two tell which.
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

/// What a message changes in its contact; the first two tell which.
pub const CONTACTS: &[Column] = &[
    ("account_id", "bigint"),
    ("id", "bigint"),
    ("last_activity_at", "bigint"),
    ("updated_at", "bigint"),
    ("version", "bigint"),
];

/// Answers to keep.
pub const KEYS: &[Column] = &[
    ("account_id", "bigint"),
    ("request_id", "uuid"),
    ("fingerprint", "bytea"),
    ("response", "bytea"),
    ("created_at", "bigint"),
    ("owner", "uuid"),
    ("contact_id", "bigint"),
];

/// Which text: most batches change no contact and keep no answer, and every part costs time even when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether contacts change.
    pub contacts: bool,
    /// Whether answers are kept.
    pub keys: bool,
    /// Whether the claim is left out, for the test that shows what it is good for.
    pub unlocked: bool,
}

/// The text of a shape. Parameters are the columns of the parts in the order of this file.
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

const CLAIM: &str = "locked AS (SELECT l.account_id FROM account_logs l JOIN n ON n.account_id = l.account_id AND n.epoch = l.epoch \
     AND n.expected = l.head_seq ORDER BY l.account_id FOR UPDATE OF l), \
     c AS (UPDATE account_logs l SET head_seq = n.head_seq, last_message_id = n.last_message_id, \
     last_occurred_at = n.last_occurred_at FROM n JOIN locked USING (account_id) WHERE l.account_id = n.account_id \
     RETURNING l.account_id)";

const NO_CLAIM: &str = "c AS (SELECT account_id FROM n)";

fn write(shape: Shape) -> String {
    let mut parameters = 0;
    let counters = rows(&mut parameters, COUNTERS);
    let claim = if shape.unlocked { NO_CLAIM } else { CLAIM };
    let mut sql = format!("WITH n AS (SELECT * FROM {counters}), {claim}");
    let mut part = |name: &str, text: String| {
        // Writing to a string cannot fail.
        let _ = write!(sql, ", {name} AS ({text})");
    };
    part("m", insert(&mut parameters, "messages", MESSAGES));
    part("e", insert(&mut parameters, "events", EVENTS));
    part("v", update(&mut parameters, "conversations", CONVERSATIONS));
    if shape.contacts {
        part("p", update(&mut parameters, "contacts", CONTACTS));
    }
    if shape.keys {
        part("k", insert(&mut parameters, "idempotency_keys", KEYS));
    }
    sql + " SELECT account_id FROM c"
}

/// The rows of the next parameters, as `t`.
fn rows(parameters: &mut usize, columns: &[Column]) -> String {
    let arrays = columns.iter().map(|(_, kind)| {
        *parameters += 1;
        format!("${parameters}::{kind}[]")
    });
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    format!("unnest({arrays}) AS t({})", names(columns, ""))
}

fn names(columns: &[Column], prefix: &str) -> String {
    columns
        .iter()
        .map(|(name, _)| format!("{prefix}{name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn insert(parameters: &mut usize, table: &str, columns: &[Column]) -> String {
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {} JOIN c ON c.account_id = t.account_id",
        names(columns, ""),
        names(columns, "t."),
        rows(parameters, columns)
    )
}

fn update(parameters: &mut usize, table: &str, columns: &[Column]) -> String {
    let set = columns[2..].iter().map(|(name, _)| format!("{name} = t.{name}"));
    format!(
        "UPDATE {table} r SET {} FROM {} JOIN c ON c.account_id = t.account_id WHERE r.account_id = t.account_id AND r.id = t.id",
        set.collect::<Vec<_>>().join(", "),
        rows(parameters, columns)
    )
}
