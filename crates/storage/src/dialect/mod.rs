//! Encapsulates the differences between PostgreSQL and SQLite: SQL fragments, whole statements and facts about the database.
//!
//! Callers request a fragment or a fact by its purpose and never check which database they use. Each difference is therefore in one place,
//! and a third database would need only another implementation of [`SqlDialect`]. Connecting (`connect.rs`), migrations and copies
//! (`copy/`) are exceptions, because the two databases have nothing in common there.

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
    /// Returns the dialect of a connection or transaction.
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

    /// Converts a query that was built with sea-query to a statement.
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
            // `Database::open` accepts only these two databases.
            _ => Self(&postgres::Postgres),
        }
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{ColumnTrait as _, QueryFilter as _, QueryTrait as _, sea_query::Expr};

    use super::*;
    use crate::entity::conversation::{self, Column};

    const BACKENDS: [DbBackend; 2] = [DbBackend::Postgres, DbBackend::Sqlite];

    /// The condition of a query for conversations, as it is sent.
    fn condition(backend: DbBackend, select: &Select<conversation::Entity>) -> String {
        let sql = select.build(backend).sql;
        sql.split_once(" WHERE ")
            .map(|(_, condition)| condition.to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn id_lists_are_bound_as_one_parameter() {
        let [postgres, sqlite] = BACKENDS.map(|backend| {
            let id = Expr::col((conversation::Entity, Column::Id));
            let any = Dialect::from(backend).id_in_list(id, &[3, 5]);
            condition(backend, &conversation::Entity::find().filter(any))
        });
        assert_eq!(postgres, "\"conversations\".\"id\" IN (SELECT unnest($1::text::bigint[]))");
        assert_eq!(sqlite, "\"conversations\".\"id\" IN (SELECT value FROM json_each(?))");
    }

    #[test]
    fn rows_are_locked_only_on_postgres() {
        let [postgres, sqlite] = BACKENDS.map(|backend| {
            let first = conversation::Entity::find().filter(Column::Id.eq(1));
            condition(backend, &Dialect::from(backend).lock_rows(first))
        });
        assert_eq!(postgres, "\"conversations\".\"id\" = $1 FOR UPDATE");
        assert_eq!(sqlite, "\"conversations\".\"id\" = ?");
    }
}
