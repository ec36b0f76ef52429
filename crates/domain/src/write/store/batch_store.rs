//! The interface through which a kind of batched write provides its SQL statements to the writer.

use std::collections::HashSet;

use parley_storage::Database;
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use sea_orm::{DatabaseTransaction, DbErr, RuntimeErr};
use sqlx::PgConnection;

use super::super::{plan::Plan, planner::BatchPlanner, write_set::NewRows};

/// Stores batched writes of one kind with SQL statements.
pub trait BatchStore: BatchPlanner {
    /// Stores plans on PostgreSQL in a single statement that first claims the counters. A plan is stored only if its account's head is
    /// where the plan expects it. Returns the accounts whose plans were stored. `unlocked` omits the claim, which only tests do.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Unavailable`] if the statement fails.
    fn store_postgres(
        connection: &mut PgConnection,
        plans: &[&Plan<Self>],
        unlocked: bool,
    ) -> impl Future<Output = Result<HashSet<AccountId>>> + Send;

    /// Stores the rows that only a plan made under the row lock can contain. Runs in the same transaction as
    /// [`BatchStore::store_postgres`].
    ///
    /// # Errors
    /// Same as [`BatchStore::store_postgres`].
    fn store_locked_postgres(connection: &mut PgConnection, plan: &Plan<Self>) -> impl Future<Output = Result<()>> + Send;

    /// Stores plans on SQLite, in one transaction.
    ///
    /// # Errors
    /// Same as [`BatchStore::store_postgres`]. If an error is returned, nothing is stored.
    fn store_sqlite(db: &Database, plans: &[&Plan<Self>]) -> impl Future<Output = Result<()>> + Send;

    /// Stores the new rows of an operation in its transaction.
    ///
    /// # Errors
    /// Same as [`BatchStore::store_postgres`].
    fn store_rows(txn: &DatabaseTransaction, rows: NewRows) -> impl Future<Output = Result<()>> + Send;
}

/// Converts the sqlx error from a failed statement to an [`Error`].
pub fn failed(error: sqlx::Error) -> Error {
    DbErr::Exec(RuntimeErr::SqlxError(error.into())).into()
}
