//! The statement that stores a batch of messages on PostgreSQL, with one text for each combination of optional parts.

use std::sync::LazyLock;

use super::super::columns::{CONTACTS, CONVERSATIONS, MESSAGES};
use crate::write::store::{
    claiming_statement::ClaimingStatement,
    columns::{EVENTS, KEYS},
};

/// The optional parts of the statement. They are left out if they are not needed: most batches change no contact and store no response, and
/// even a part without rows costs time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Whether the statement updates contacts.
    pub contacts: bool,
    /// Whether the statement stores responses for idempotency keys.
    pub keys: bool,
    /// Whether to skip the lock on the row of the account's counters. Set only by the test that shows which race the lock prevents.
    pub unlocked: bool,
}

/// Returns the text of a statement with the given optional parts. Its parameters are the columns of the counters, messages, events,
/// conversations, contacts and responses, in this order.
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
