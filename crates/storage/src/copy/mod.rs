//! Takes consistent copies of a whole database while a server runs, and loads such copies.

use serde::{Deserialize, Serialize};

pub mod loading;
pub mod postgres;
pub mod sqlite;

/// The schema of the database from which a copy was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The kind of database: `sqlite` or `postgresql`.
    pub backend: String,
    /// The migrations that had been run on the database, in order.
    pub migrations: Vec<String>,
    /// The tables in order, with their columns. Empty for SQLite, because its database is copied as a file.
    pub tables: Vec<Table>,
}

/// A table that a copy contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    /// The columns of the table, except those that the database computes.
    pub columns: Vec<String>,
}

/// A sequence, with the last value that it returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    pub name: String,
    pub last: i64,
}

/// An object in the blob store that a row of `attachments` refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The id of the row in `attachments`.
    pub id: i64,
    /// The name of the object in the blob store.
    pub name: String,
    /// The size of the object in bytes.
    pub size: u64,
    /// The size of the thumbnail in bytes; `None` if the object has no thumbnail.
    pub small: Option<u64>,
    /// Whether the attachment is in use. If it is, the object must exist.
    pub in_use: bool,
}

/// How many rows of `attachments` one query reads.
const ROWS: i64 = 500;

/// Selects one page of objects whose attachment ids are greater than `$1`: those that were stored completely and are not marked as removed.
const OBJECTS: &str = "SELECT id, object, file_size, thumb_size, state FROM attachments
    WHERE id > $1 AND object IS NOT NULL AND file_size IS NOT NULL AND state <> 2 ORDER BY id LIMIT $2";

/// A row that [`OBJECTS`] selects.
type ObjectRow = (i64, String, i64, Option<i64>, i16);

fn object((id, name, size, small, state): ObjectRow) -> Object {
    Object {
        id,
        name,
        size: size.unsigned_abs(),
        small: small.map(i64::unsigned_abs),
        in_use: state == 1,
    }
}

/// Lists the migrations that were run on the database.
const MIGRATIONS: &str = "SELECT version FROM seaql_migrations ORDER BY version";
