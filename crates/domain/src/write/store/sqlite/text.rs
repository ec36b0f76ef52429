//! The texts of statements on SQLite, made from lists of columns. Parameters have no numbers: sqlx counts them over all statements of a text, in
//! the order in which they are written.

use super::super::statement::{COUNTERS, Column};

/// How an update finds its row and what it sets.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The table.
    pub table: &'static str,
    /// All columns, the key first.
    pub columns: &'static [Column],
    /// How many columns, from the first, are the key.
    pub key: usize,
    /// The first column that is set, and all after it.
    pub set_from: usize,
}

/// The columns between the key and the new counters are only expected: no other process can have moved them.
pub const ACCOUNT_LOGS: Update = Update {
    table: "account_logs",
    columns: COUNTERS,
    key: 1,
    set_from: 3,
};

fn names(columns: &[Column]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// An insert of a number of rows: a parameter for each value.
pub fn insert(table: &str, columns: &[Column], rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", names(columns), vec![row; rows].join(", "))
}

/// An update of one row: a parameter for each value, those that are set before those of the key.
pub fn update_one(update: Update) -> String {
    let is = |columns: &[Column]| columns.iter().map(|(name, _)| format!("{name} = ?")).collect::<Vec<_>>();
    let (set, found) = (is(&update.columns[update.set_from..]), is(&update.columns[..update.key]));
    format!("UPDATE {} SET {} WHERE {}", update.table, set.join(", "), found.join(" AND "))
}

/// A column's value in a row. Bytes are given by their start in the blob and their length. Rows stay in SQLite's own form of JSON: if they were
/// texts, SQLite would parse the whole row for each value.
fn value(nth: usize, (_, kind): &Column) -> String {
    match *kind {
        "bytea" | "uuid" => format!("substr(?, t.value ->> '$[{nth}][0]', t.value ->> '$[{nth}][1]')"),
        _ => format!("t.value ->> {nth}"),
    }
}

/// An insert of any number of rows: one parameter for all of them, after those for bytes.
pub fn insert_many(table: &str, columns: &[Column]) -> String {
    let values: Vec<_> = columns.iter().enumerate().map(|(nth, column)| value(nth, column)).collect();
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM jsonb_each(?) AS t",
        names(columns),
        values.join(", ")
    )
}

/// An update of any number of rows, which are one parameter.
pub fn update_many(
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
