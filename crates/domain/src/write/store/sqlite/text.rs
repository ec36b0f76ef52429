//! The statements, made from lists of columns. The parameters have no numbers: sqlx counts them over all statements, in the order in which
//! they stand here.

use std::sync::LazyLock;

use super::super::statement::{CONTACTS, CONVERSATIONS, COUNTERS, Column, EVENTS, KEYS, MESSAGES};

/// How an update finds its row and what it sets.
#[derive(Clone, Copy)]
pub struct Update {
    table: &'static str,
    columns: &'static [Column],
    /// How many columns, from the first, are the key.
    pub key: usize,
    /// The first column that is set, and all after it.
    pub set_from: usize,
}

/// What lies between key and counters is expected only, and there is nobody who could have moved it.
pub const ACCOUNT_LOGS: Update = Update {
    table: "account_logs",
    columns: COUNTERS,
    key: 1,
    set_from: 3,
};

/// A conversation by its key.
pub const CONVERSATIONS_BY_KEY: Update = Update {
    table: "conversations",
    columns: CONVERSATIONS,
    key: 2,
    set_from: 2,
};

/// A contact by its key.
pub const CONTACTS_BY_KEY: Update = Update {
    table: "contacts",
    columns: CONTACTS,
    key: 2,
    set_from: 2,
};

/// The most events that the plan of one message has rows of their own for.
pub const EVENTS_OF_ONE: usize = 4;

/// What the plan of one message stores beside the message.
#[derive(Clone, Copy)]
pub struct Shape {
    /// How many events, from one to [`EVENTS_OF_ONE`].
    pub events: usize,
    /// Whether its contact changes.
    pub contact: bool,
    /// Whether the answer is kept.
    pub key: bool,
}

/// The statements of a plan of one message: a parameter for each value.
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

/// The statements of any plans: a parameter for each table's rows, after those for bytes. With or without those for contacts and kept answers,
/// which most batches lack.
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

fn names(columns: &[Column]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn insert(table: &str, columns: &[Column], rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", names(columns), vec![row; rows].join(", "))
}

fn update_one(update: Update) -> String {
    let is = |columns: &[Column]| columns.iter().map(|(name, _)| format!("{name} = ?")).collect::<Vec<_>>();
    let (set, found) = (is(&update.columns[update.set_from..]), is(&update.columns[..update.key]));
    format!("UPDATE {} SET {} WHERE {}", update.table, set.join(", "), found.join(" AND "))
}

/// A column's value in a row. Bytes are given by their start in the blob and their number. Rows stay in SQLite's own form of JSON: as
/// texts, each of their values would be cut out of the whole row.
fn value(nth: usize, (_, kind): &Column) -> String {
    match *kind {
        "bytea" | "uuid" => format!("substr(?, t.value ->> '$[{nth}][0]', t.value ->> '$[{nth}][1]')"),
        _ => format!("t.value ->> {nth}"),
    }
}

fn insert_many(table: &str, columns: &[Column]) -> String {
    let values: Vec<_> = columns.iter().enumerate().map(|(nth, column)| value(nth, column)).collect();
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM jsonb_each(?) AS t",
        names(columns),
        values.join(", ")
    )
}

fn update_many(
    Update {
        table,
        columns,
        key,
        set_from,
    }: Update,
) -> String {
    let numbered = || columns.iter().enumerate();
    let set: Vec<_> = numbered()
        .skip(set_from)
        .map(|(nth, (name, _))| format!("{name} = t.value ->> {nth}"))
        .collect();
    let found: Vec<_> = numbered()
        .take(key)
        .map(|(nth, (name, _))| format!("{table}.{name} = t.value ->> {nth}"))
        .collect();
    format!(
        "UPDATE {table} SET {} FROM jsonb_each(?) AS t WHERE {}",
        set.join(", "),
        found.join(" AND ")
    )
}
