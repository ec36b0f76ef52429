//! Builds the SQL statements that store messages in SQLite.

use std::sync::LazyLock;

use super::super::columns::{CONTACTS, CONVERSATIONS, MESSAGES};
use crate::write::store::{
    columns::{EVENTS, KEYS},
    sqlite::text::{ACCOUNT_LOGS, Update, insert, insert_many, update_many, update_one},
};

/// Updates the conversation with a given account id and conversation id.
pub const CONVERSATIONS_BY_KEY: Update = Update {
    table: "conversations",
    columns: CONVERSATIONS,
    key: 2,
    set_from: 2,
};

/// Updates the contact with a given account id and contact id.
pub const CONTACTS_BY_KEY: Update = Update {
    table: "contacts",
    columns: CONTACTS,
    key: 2,
    set_from: 2,
};

/// The maximum number of events in a plan that [`single`] stores.
pub const EVENTS_OF_ONE: usize = 4;

/// The rows that a plan with one message stores besides the message.
#[derive(Clone, Copy)]
pub struct Shape {
    /// The number of events, from one to [`EVENTS_OF_ONE`].
    pub events: usize,
    /// Whether the plan updates the contact.
    pub contact: bool,
    /// Whether the plan stores a response for an idempotency key.
    pub key: bool,
}

/// Returns the statements for a plan with one message, with one parameter per value.
pub fn single(shape: Shape) -> &'static str {
    static TEXTS: LazyLock<[String; EVENTS_OF_ONE * 4]> = LazyLock::new(|| {
        std::array::from_fn(|nth| {
            single_text(Shape {
                events: nth / 4 + 1,
                contact: nth & 1 != 0,
                key: nth & 2 != 0,
            })
        })
    });
    &TEXTS[(shape.events - 1) * 4 + usize::from(shape.contact) + 2 * usize::from(shape.key)]
}

/// Returns the statements for any number of plans. The rows of each table are one parameter, after the parameters for binary values.
/// `is_whole` adds the statements for contacts and responses, which most batches do not need.
pub fn many(is_whole: bool) -> &'static str {
    static TEXTS: LazyLock<[String; 2]> = LazyLock::new(|| {
        let always = [
            update_many(ACCOUNT_LOGS),
            insert_many("messages", MESSAGES),
            insert_many("events", EVENTS),
            update_many(CONVERSATIONS_BY_KEY),
        ]
        .join("; ");
        let seldom = [update_many(CONTACTS_BY_KEY), insert_many("idempotency_keys", KEYS)].join("; ");
        let both = format!("{always}; {seldom}");
        [always, both]
    });
    &TEXTS[usize::from(is_whole)]
}

fn single_text(shape: Shape) -> String {
    let mut all = vec![
        update_one(ACCOUNT_LOGS),
        insert("messages", MESSAGES, 1),
        insert("events", EVENTS, shape.events),
        update_one(CONVERSATIONS_BY_KEY),
    ];
    all.extend(shape.contact.then(|| update_one(CONTACTS_BY_KEY)));
    all.extend(shape.key.then(|| insert("idempotency_keys", KEYS, 1)));
    all.join("; ")
}
