//! A writer shard's connection to PostgreSQL: its lifecycle, the row lock of an account's counters, and the transaction that holds the
//! lock.

use std::{collections::HashSet, time::Duration};

use parley_storage::{Database, IDLE, entity::account_log};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ConversationId, Epoch, MessageId, Seq},
    time::Micros,
};
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgRow};
use tokio::time::{Instant, timeout};

use super::{
    super::plan::Plan,
    batch_store::{BatchStore, failed},
};

/// A connection that belongs to one shard. It is faster than a connection pool, which tests each returned connection with a round trip and
/// would thus add one per batch. It uses sqlx directly, because sea-query would convert each element of an array into a separate value.
#[derive(Debug)]
pub struct ShardConnection {
    db: Database,
    open: Option<PgConnection>,
    used_at: Instant,
}

impl ShardConnection {
    /// Creates a connection that is opened on first use, and reopened after it breaks.
    pub fn new(db: Database) -> Self {
        Self {
            db,
            open: None,
            used_at: Instant::now(),
        }
    }

    async fn get(&mut self) -> Result<&mut PgConnection> {
        let idle = std::mem::replace(&mut self.used_at, Instant::now()).elapsed() > IDLE;
        let mut cached = self.open.take();
        if let Some(open) = &mut cached
            && idle
            && !answers(open).await
        {
            cached = None;
        }
        let open = match cached {
            Some(open) => open,
            None => self.db.connect_alone().await?,
        };
        Ok(self.open.insert(open))
    }

    /// Returns the connection that holds the lock. On another connection, the plan would be stored without the lock, statement by
    /// statement.
    fn held(&mut self) -> Result<&mut PgConnection> {
        self.used_at = Instant::now();
        self.open.as_mut().ok_or(Error::Unavailable {
            reason: "the connection that held the account's lock was lost",
            retry_after: Duration::from_secs(1),
        })
    }

    /// Stores plans, and returns the accounts whose plans were stored. A plan is stored only if its account's head is where the plan
    /// expects it.
    ///
    /// # Errors
    /// [`Error::Database`] if a constraint is violated, in which case nothing is stored; [`Error::Unavailable`] if the connection broke, in
    /// which case it is unknown whether the plans were stored.
    pub async fn store<B: BatchStore>(&mut self, plans: &[&Plan<B>], unlocked: bool) -> Result<HashSet<AccountId>> {
        let db = self.db.clone();
        let stored = db
            .in_time(Box::pin(async { B::store_postgres(self.get().await?, plans, unlocked).await }))
            .await;
        // A violated constraint leaves the connection usable; any other failure does not.
        stored.inspect_err(|error| {
            if matches!(error, Error::Unavailable { .. }) {
                self.open = None;
            }
        })
    }

    /// Begins a transaction that locks the account's counters, and returns the counters. Returns `None` if the account does not exist.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Unavailable`] if a statement fails, in which case nothing is locked.
    pub async fn lock(&mut self, account: AccountId) -> Result<Option<account_log::Model>> {
        let db = self.db.clone();
        let connection = self.get().await?;
        let locked = async {
            sqlx::query("BEGIN").execute(&mut *connection).await.map_err(failed)?;
            let sql = "SELECT * FROM account_logs WHERE account_id = $1 FOR UPDATE";
            let row = sqlx::query(sql).bind(account.0).fetch_optional(&mut *connection).await;
            row.and_then(|row| row.as_ref().map(counters).transpose()).map_err(failed)
        };
        let locked = db.in_time(Box::pin(locked)).await;
        if !matches!(locked, Ok(Some(_))) {
            self.release().await;
        }
        locked
    }

    /// Stores a plan and releases the lock. If storing fails, the lock is released and nothing is stored.
    ///
    /// # Errors
    /// Same as [`ShardConnection::store`].
    pub async fn commit<B: BatchStore>(&mut self, plan: &Plan<B>) -> Result<()> {
        let db = self.db.clone();
        let connection = self.held()?;
        let stored = async {
            if B::store_postgres(connection, &[plan], false).await?.is_empty() {
                return Err(Error::Internal("the account's counters changed while they were locked".to_owned()));
            }
            B::store_locked_postgres(connection, plan).await?;
            sqlx::query("COMMIT").execute(&mut *connection).await.map_err(failed)?;
            Ok(())
        };
        let stored = db.in_time(Box::pin(stored)).await;
        if stored.is_err() {
            self.release().await;
        }
        stored
    }

    /// Releases the lock without storing anything. If the connection does not respond in time, it is dropped, and PostgreSQL releases the
    /// lock when it detects the disconnect.
    pub async fn release(&mut self) {
        if let Some(mut open) = self.open.take()
            && matches!(timeout(PROMPTLY, sqlx::query("ROLLBACK").execute(&mut open)).await, Ok(Ok(_)))
        {
            self.open = Some(open);
        }
    }

    /// Closes the connection, if there is one.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take()
            && let Ok(Err(error)) = timeout(PROMPTLY, open.close()).await
        {
            tracing::debug!(%error, "failed to close a database connection");
        }
    }
}

/// The maximum time for a statement that causes no work in the database. A connection that takes longer is considered broken.
const PROMPTLY: Duration = Duration::from_secs(1);

/// Returns whether the connection still works.
async fn answers(open: &mut PgConnection) -> bool {
    matches!(timeout(PROMPTLY, open.ping()).await, Ok(Ok(())))
}

fn counters(row: &PgRow) -> sqlx::Result<account_log::Model> {
    Ok(account_log::Model {
        account_id: AccountId(row.try_get("account_id")?),
        epoch: Epoch(row.try_get("epoch")?),
        head_seq: Seq(row.try_get("head_seq")?),
        earliest_seq: Seq(row.try_get("earliest_seq")?),
        last_conversation_id: ConversationId(row.try_get("last_conversation_id")?),
        last_message_id: MessageId(row.try_get("last_message_id")?),
        last_occurred_at: Micros(row.try_get("last_occurred_at")?),
    })
}
