//! Storing plans, set-based: one statement on PostgreSQL, five on SQLite, however many messages.

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
    meter::{Operation, measured},
    plan::Plan,
};

mod postgres;
mod sqlite;
mod statement;

/// Where a lane stores its plans.
#[derive(Debug)]
pub struct Store {
    db: Database,
    postgres: postgres::Connection,
    /// Whether the counter row's lock is taken away, in tests only.
    unlocked: bool,
}

impl Store {
    /// A store that has not connected yet.
    pub fn new(db: Database, unlocked: bool) -> Self {
        let postgres = postgres::Connection::new(db.clone());
        Self { db, postgres, unlocked }
    }

    /// Stores the plans of those accounts whose head is where the plan expects it, and returns which they are. Everything in
    /// one transaction.
    ///
    /// # Errors
    /// When the database fails or a constraint is broken; then nothing is stored, unless the connection broke.
    pub async fn store_if_unchanged<'a>(&mut self, plans: impl Iterator<Item = &'a Plan>) -> Result<HashSet<AccountId>> {
        let plans: Vec<&Plan> = plans.collect();
        let backend = self.db.backend();
        let work = async {
            if backend == DbBackend::Postgres {
                return self.postgres.store(&plans, self.unlocked).await;
            }
            // One process writes to a SQLite file, and it wrote down every head it moved.
            sqlite::store(&self.db, &plans).await?;
            Ok(plans
                .iter()
                .filter_map(|plan| plan.counters.as_ref())
                .map(|counters| counters.account_id)
                .collect())
        };
        measured(backend, size(&plans), causes(&plans), work).await
    }

    /// Locks the account's counters until [`Store::commit`] or [`Store::release`], and returns them. On SQLite there is
    /// nobody to lock them against: this process alone writes to the file, and in one lane.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such an account; when the database fails.
    pub async fn lock(&mut self, account: AccountId) -> Result<account_log::Model> {
        let counters = if self.db.backend() == DbBackend::Postgres {
            self.postgres.lock(account).await?
        } else {
            account_log::Entity::find_by_id(account).one(self.db.write()).await?
        };
        counters.ok_or_else(|| Error::not_found("account", account))
    }

    /// Stores a plan under the lock of its account's counters, and ends the lock.
    ///
    /// # Errors
    /// As [`Store::store_if_unchanged`]; the lock is ended then, too.
    pub async fn commit(&mut self, plan: &Plan) -> Result<()> {
        let backend = self.db.backend();
        let work = async {
            if backend == DbBackend::Postgres {
                return self.postgres.commit(plan).await;
            }
            sqlite::store(&self.db, &[plan]).await
        };
        measured(backend, size(&[plan]), causes(&[plan]), work).await
    }

    /// Ends the lock; nothing is stored.
    pub async fn release(&mut self) {
        self.postgres.release().await;
    }

    /// Closes the lane's own connection.
    pub async fn close(&mut self) {
        self.postgres.close().await;
    }

    /// Moves the head at once, in a transaction of its own, and returns the counters as they stood before.
    ///
    /// # Errors
    /// When the database fails.
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

fn size(plans: &[&Plan]) -> Operation {
    Operation::Store(plans.iter().map(|plan| plan.messages.len()).sum())
}

/// The trace contexts of the calls in these plans.
fn causes<'a>(plans: &'a [&'a Plan]) -> impl Iterator<Item = &'a str> {
    let calls = plans.iter().flat_map(|plan| &plan.planned);
    calls.map(|planned| planned.call.call.traceparent.as_str())
}
