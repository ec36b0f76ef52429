//! What differs between PostgreSQL and SQLite: SQL fragments, whole statements and facts about the database.
//!
//! Callers ask for a fragment or a fact by what it is for and never for the name of the database, so a difference has one place, and a third
//! database would be one more implementation of [`SqlDialect`]. Connection set-up (`connect.rs`), migrations and copies (`copy/`) know the
//! database themselves: nothing in them is shared by both.

use std::ops::Deref;

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QuerySelect as _, Select, Statement, StatementBuilder, Value};

mod postgres;
mod sql;
mod sqlite;

pub use sql::{IdReservation, MessageIndex, ReturnedIds, ServerQueries, SqlDialect};

/// The SQL dialect of a database; dereferences to its [`SqlDialect`].
#[derive(Clone, Copy, Debug)]
pub struct Dialect(&'static dyn SqlDialect);

impl Dialect {
    /// The dialect that a connection or a transaction speaks.
    pub fn of(db: &impl ConnectionTrait) -> Self {
        db.get_database_backend().into()
    }

    /// A statement with bound values.
    pub fn statement(self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// A statement without bound values.
    pub fn unbound_statement(self, sql: impl Into<String>) -> Statement {
        Statement::from_string(self.backend(), sql)
    }

    /// A built query as a statement.
    pub fn build(self, query: &impl StatementBuilder) -> Statement {
        self.backend().build(query)
    }

    /// Locks the selected rows until the transaction ends, where rows have locks.
    pub fn lock_rows<E: EntityTrait>(self, select: Select<E>) -> Select<E> {
        match self.row_lock() {
            Some(lock) => select.lock(lock),
            None => select,
        }
    }
}

impl Deref for Dialect {
    type Target = dyn SqlDialect;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl From<DbBackend> for Dialect {
    fn from(backend: DbBackend) -> Self {
        match backend {
            DbBackend::Sqlite => Self(&sqlite::Sqlite),
            // `Database::open` accepts no third database.
            _ => Self(&postgres::Postgres),
        }
    }
}
