//! The differences between PostgreSQL and SQLite: SQL fragments, whole statements and facts about the database.
//!
//! Callers ask for a fragment or a fact by its purpose and never check which database they use. Each difference is therefore in one place,
//! and a third database would be one more implementation of [`SqlDialect`]. Exceptions are connecting (`connect.rs`), migrations and copies
//! (`copy/`), where the two databases have nothing in common.

use std::ops::Deref;

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QuerySelect as _, Select, Statement, StatementBuilder, Value};

mod postgres;
mod sql;
mod sqlite;

pub use sql::{IdReservation, MessageIndex, ReturnedIds, ServerQueries, SqlDialect};

/// The SQL dialect of a database; dereferences to [`SqlDialect`].
#[derive(Clone, Copy, Debug)]
pub struct Dialect(&'static dyn SqlDialect);

impl Dialect {
    /// The dialect of a connection or transaction.
    pub fn of(db: &impl ConnectionTrait) -> Self {
        db.get_database_backend().into()
    }

    /// Creates a statement with bound values.
    pub fn statement(self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// Creates a statement without bound values.
    pub fn unbound_statement(self, sql: impl Into<String>) -> Statement {
        Statement::from_string(self.backend(), sql)
    }

    /// Converts a built query to a statement.
    pub fn build(self, query: &impl StatementBuilder) -> Statement {
        self.backend().build(query)
    }

    /// Locks the selected rows until the transaction ends, if the database has row locks.
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
