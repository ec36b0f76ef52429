//! The text of statements on SQLite, built from column lists. Parameters have no numbers: sqlx numbers them across all statements of a
//! query, in the order in which they occur.

use super::super::columns::{COUNTERS, Column};

/// Describes how an update finds its row and which columns it sets.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The name of the table.
    pub table: &'static str,
    /// All columns that the update uses, beginning with the key columns.
    pub columns: &'static [Column],
    /// The number of columns that form the key.
    pub key: usize,
    /// The index of the first column that is set; all later ones are set too.
    pub set_from: usize,
}

/// Updates the counters of an account. The columns between the key and the new counters are the expected counters, which the update does
/// not check, because no other process can have changed them.
pub const ACCOUNT_LOGS: Update = Update {
    table: "account_logs",
    columns: COUNTERS,
    key: 1,
    set_from: 3,
};

fn names(columns: &[Column]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Returns a statement that inserts `rows` rows, with one parameter per value.
pub fn insert(table: &str, columns: &[Column], rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", names(columns), vec![row; rows].join(", "))
}

/// Returns a statement that updates one row, with one parameter per value: first the columns to set, then the key.
pub fn update_one(update: Update) -> String {
    let is = |columns: &[Column]| columns.iter().map(|(name, _)| format!("{name} = ?")).collect::<Vec<_>>();
    let (set, found) = (is(&update.columns[update.set_from..]), is(&update.columns[..update.key]));
    format!("UPDATE {} SET {} WHERE {}", update.table, set.join(", "), found.join(" AND "))
}

/// Returns the expression for a column's value in a row. Binary values are represented by their position in the blob and their length. Rows
/// remain in SQLite's binary JSON format: if they were JSON text, SQLite would parse the whole row for each value.
fn value(nth: usize, (_, kind): &Column) -> String {
    match *kind {
        "bytea" | "uuid" => format!("substr(?, t.value ->> '$[{nth}][0]', t.value ->> '$[{nth}][1]')"),
        _ => format!("t.value ->> {nth}"),
    }
}

/// Returns a statement that inserts any number of rows, which are all bound to one parameter, after the parameters for binary values.
pub fn insert_many(table: &str, columns: &[Column]) -> String {
    let values: Vec<_> = columns.iter().enumerate().map(|(nth, column)| value(nth, column)).collect();
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM jsonb_each(?) AS t",
        names(columns),
        values.join(", ")
    )
}

/// Returns a statement that updates any number of rows, which are all bound to one parameter.
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
