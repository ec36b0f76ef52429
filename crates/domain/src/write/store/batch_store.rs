//! The statements that a kind of writes that are stored in batches provides to the writer.

use std::collections::HashSet;

use parley_storage::Database;
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use sea_orm::{DatabaseTransaction, DbErr, RuntimeErr};
use sqlx::PgConnection;

use super::super::{plan::Plan, planner::BatchPlanner, write_set::NewRows};

/// The statements of a kind of writes that are stored in batches.
pub trait BatchStore: BatchPlanner {
    /// Stores plans on PostgreSQL by one statement that claims the counters, and returns the accounts whose head was where the plan
    /// expected it. Nothing is stored for the other accounts. `unlocked` leaves the claim out, in tests only.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Unavailable`] if the statement fails.
    fn store_postgres(
        connection: &mut PgConnection,
        plans: &[&Plan<Self>],
        unlocked: bool,
    ) -> impl Future<Output = Result<HashSet<AccountId>>> + Send;

    /// Stores, in the same transaction, the rows that only a plan made under the row lock can have.
    ///
    /// # Errors
    /// Same as [`BatchStore::store_postgres`].
    fn store_locked_postgres(connection: &mut PgConnection, plan: &Plan<Self>) -> impl Future<Output = Result<()>> + Send;

    /// Stores plans on SQLite, in one transaction.
    ///
    /// # Errors
    /// Same as [`BatchStore::store_postgres`]; then nothing is stored.
    fn store_sqlite(db: &Database, plans: &[&Plan<Self>]) -> impl Future<Output = Result<()>> + Send;

    /// Stores the new rows of an operation in its transaction.
    ///
    /// # Errors
    /// Same as [`BatchStore::store_postgres`].
    fn store_rows(txn: &DatabaseTransaction, rows: NewRows) -> impl Future<Output = Result<()>> + Send;
}

/// Converts the error of a failed sqlx statement.
pub fn failed(error: sqlx::Error) -> Error {
    DbErr::Exec(RuntimeErr::SqlxError(error.into())).into()
}
