//! Stores plans, either on condition that the account's head has not moved, or under the row lock of the account's counters.
//!
//! This module contains the connection, the lock, and the parts of the statements that every batch has (counters, events and stored
//! responses). An implementation of [`BatchStore`] provides the other statements.

use std::collections::HashSet;

use parley_storage::{Database, entity::account_log};
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use sea_orm::{DbBackend, EntityTrait};
#[cfg(feature = "faults")]
use sea_orm::{FromQueryResult as _, Statement};

use super::{
    meter::{DatabaseWork, measured},
    plan::Plan,
};

mod batch_store;
pub mod bind;
pub mod claiming_statement;
pub mod columns;
mod postgres;
pub mod sqlite;

pub use batch_store::{BatchStore, failed};

/// A writer shard's access to the database.
#[derive(Debug)]
pub struct Store {
    db: Database,
    postgres: postgres::ShardConnection,
    /// Whether the row lock of the counters is left out, in tests only.
    unlocked: bool,
}

impl Store {
    /// Creates a store that connects on first use.
    pub fn new(db: Database, unlocked: bool) -> Self {
        let postgres = postgres::ShardConnection::new(db.clone());
        Self { db, postgres, unlocked }
    }

    /// Stores plans in one transaction, and returns the accounts whose plans were stored. A plan is stored only if its account's head is
    /// where the plan expects it.
    ///
    /// # Errors
    /// [`Error::Database`] if a constraint is violated, in which case nothing is stored; [`Error::Unavailable`] if the connection broke, in
    /// which case it is unknown whether the plans were stored.
    pub async fn store_if_unchanged<'a, B: BatchStore>(&mut self, plans: impl Iterator<Item = &'a Plan<B>>) -> Result<HashSet<AccountId>> {
        let plans: Vec<&Plan<B>> = plans.collect();
        let backend = self.db.backend();
        let work = async {
            if backend == DbBackend::Postgres {
                return self.postgres.store(&plans, self.unlocked).await;
            }
            // Only this process writes to the SQLite file, and only this shard moves heads, so the heads are where the plans expect them.
            B::store_sqlite(&self.db, &plans).await?;
            Ok(plans.iter().map(|plan| plan.counters.account_id).collect())
        };
        measured(backend, size(&plans), causes(&plans), work).await
    }

    /// Locks the account's counters until [`Store::commit`] or [`Store::release`], and returns them. On SQLite no lock is needed: only this
    /// process writes to the file, and it has only one shard.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the account does not exist; [`Error::Database`] or [`Error::Unavailable`] if the statement fails.
    pub async fn lock(&mut self, account: AccountId) -> Result<account_log::Model> {
        let counters = if self.db.backend() == DbBackend::Postgres {
            self.postgres.lock(account).await?
        } else {
            account_log::Entity::find_by_id(account).one(self.db.write()).await?
        };
        counters.ok_or_else(|| Error::not_found("account", account))
    }

    /// Stores a plan under the row lock of its account's counters, and releases the lock.
    ///
    /// # Errors
    /// Same as [`Store::store_if_unchanged`]; the lock is released in any case.
    pub async fn commit<B: BatchStore>(&mut self, plan: &Plan<B>) -> Result<()> {
        let backend = self.db.backend();
        let work = async {
            if backend == DbBackend::Postgres {
                return self.postgres.commit(plan).await;
            }
            B::store_sqlite(&self.db, &[plan]).await
        };
        measured(backend, size(&[plan]), causes(&[plan]), work).await
    }

    /// Releases the lock without storing anything.
    pub async fn release(&mut self) {
        self.postgres.release().await;
    }

    /// Closes the writer shard's own connection to PostgreSQL, if it is open.
    pub async fn close(&mut self) {
        self.postgres.close().await;
    }

    /// Advances the head immediately, in a transaction of its own, and returns the counters as they were before.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the account does not exist; [`Error::Database`] or [`Error::Unavailable`] if the statement fails.
    #[cfg(feature = "faults")]
    pub async fn take_without_lock(&self, account: AccountId, count: i64) -> Result<account_log::Model> {
        let sql =
            "UPDATE account_logs SET head_seq = head_seq + $2, last_message_id = last_message_id + $2 WHERE account_id = $1 RETURNING *";
        let statement = Statement::from_sql_and_values(self.db.backend(), sql, [account.0.into(), count.into()]);
        let row = account_log::Model::find_by_statement(statement).one(self.db.write()).await?;
        let mut row = row.ok_or_else(|| Error::not_found("account", account))?;
        row.head_seq.0 -= count;
        row.last_message_id.0 -= count;
        Ok(row)
    }
}

fn size<B: BatchStore>(plans: &[&Plan<B>]) -> DatabaseWork {
    DatabaseWork::Store(plans.iter().map(|plan| B::item_count(&plan.rows)).sum())
}

/// Returns the trace contexts of the calls in these plans.
fn causes<'a, B: BatchStore>(plans: &'a [&'a Plan<B>]) -> impl Iterator<Item = &'a str> {
    let calls = plans.iter().flat_map(|plan| &plan.planned);
    calls.map(|planned| planned.call.call.traceparent.as_str())
}
