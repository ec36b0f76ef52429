//! Consistent copies of a whole database beside a running server, and how they are put back.

use serde::{Deserialize, Serialize};

pub mod loading;
pub mod postgres;
pub mod sqlite;

/// The database that a copy is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `sqlite` or `postgresql`.
    pub backend: String,
    /// The migrations that had been run, in their order.
    pub migrations: Vec<String>,
    /// The tables in their order, with their columns. None of SQLite, whose file is copied.
    pub tables: Vec<Table>,
}

/// A table of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, without those that the database computes.
    pub columns: Vec<String>,
}

/// A sequence and the last value that it gave out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: String,
    /// The last value.
    pub last: i64,
}

/// A file that a row of `attachments` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The row.
    pub id: i64,
    /// The name of its bytes in the store.
    pub name: String,
    /// How many they are.
    pub size: u64,
    /// The size of the small picture beside it.
    pub small: Option<u64>,
    /// Whether something has taken it: then it has to be there.
    pub in_use: bool,
}

/// Rows of `attachments` that are looked up at once.
const ROWS: i64 = 500;

/// The files of a database, a page after each `id`: everything that was stored whole and not removed.
const OBJECTS: &str = "SELECT id, object, file_size, thumb_size, state FROM attachments
    WHERE id > $1 AND object IS NOT NULL AND file_size IS NOT NULL AND state <> 2 ORDER BY id LIMIT $2";

/// A row of [`OBJECTS`].
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

/// The migrations of a database.
const MIGRATIONS: &str = "SELECT version FROM seaql_migrations ORDER BY version";
