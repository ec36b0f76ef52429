//! The log of an account: its counters and its events, in the database.
//!
//! Guarantees: seqs are dense, and their order is the order of commits, because every write locks the account's counter
//! row ([`lock`]) until it commits and takes its seqs from there. A reader that asks for what follows a seq can therefore
//! never step over an event that commits late. (A database sequence would be taken at insert and become visible at
//! commit, in another order.)

use parley_storage::{
    Database, Dialect,
    entity::{account_log, event},
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ConversationId, Epoch, MessageId, Seq},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Set,
    sea_query::{Asterisk, Expr, Order, Query},
};

use crate::{
    entry::Entry,
    filter::Filter,
    log_range::{self, ReachRow},
    redaction::redacted,
};

pub use crate::log_range::Reach;

/// The logs of all accounts.
#[derive(Clone, Debug)]
pub struct Log {
    db: Database,
}

/// How much one page holds at most.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Events.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: usize,
}

/// A part of a log.
#[derive(Debug)]
pub struct Page {
    /// What matches, in order.
    pub entries: Vec<Entry>,
    /// Nothing else matches there.
    pub whole: bool,
}

impl Log {
    /// The logs in this database.
    pub fn new(db: Database) -> Self {
        Self { db }
    }

    /// The database that holds it.
    pub(super) fn database(&self) -> &Database {
        &self.db
    }

    /// Waits for what is asked of the database behind the doors, as [`Database::in_long_time`].
    ///
    /// # Errors
    /// What was asked returns; [`Error::Unavailable`] when it took too long.
    pub async fn in_long_time<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        self.db.in_long_time(asked).await
    }

    /// How far the account's log reaches.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such an account.
    pub async fn reach(&self, account: AccountId) -> Result<Reach> {
        let row = log_range::reaches().filter(account_log::Column::AccountId.eq(account));
        let row = row.into_model::<ReachRow>().one(self.db.read()).await?;
        row.map(Reach::from).ok_or_else(|| Error::not_found("account", account))
    }

    /// How far the logs of these accounts reach.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn reaches(&self, accounts: &[AccountId]) -> Result<Vec<Reach>> {
        let ids = accounts.iter().map(|account| account.0);
        let rows = log_range::reaches().filter(account_log::Column::AccountId.is_in(ids));
        let rows = rows.into_model::<ReachRow>().all(self.db.read()).await?;
        Ok(rows.into_iter().map(Reach::from).collect())
    }

    /// Gives the log of an account another epoch, if its head is below one that was seen: history went back, so what was told after that is
    /// not true any more. Says whether it did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replace_if_below(&self, account: AccountId, epoch: Epoch, seen: Seq) -> Result<bool> {
        let replaced = account_log::Entity::update_many()
            .col_expr(account_log::Column::Epoch, Expr::value(Epoch::random().0))
            .filter(account_log::Column::AccountId.eq(account))
            .filter(account_log::Column::Epoch.eq(epoch))
            .filter(account_log::Column::HeadSeq.lt(seen))
            .exec(self.db.write())
            .await?;
        Ok(replaced.rows_affected > 0)
    }

    /// Gives the log of an account another epoch in place of this one. Says whether it did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replace(&self, account: AccountId, epoch: Epoch) -> Result<bool> {
        let replaced = account_log::Entity::update_many()
            .col_expr(account_log::Column::Epoch, Expr::value(Epoch::random().0))
            .filter(account_log::Column::AccountId.eq(account))
            .filter(account_log::Column::Epoch.eq(epoch))
            .exec(self.db.write())
            .await?;
        Ok(replaced.rows_affected > 0)
    }

    /// Gives all logs another epoch, as after a restore, and says how many there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replace_all(&self) -> Result<u64> {
        let replaced = account_log::Entity::update_many()
            .col_expr(account_log::Column::Epoch, Expr::value(Epoch::random().0))
            .exec(self.db.write())
            .await?;
        Ok(replaced.rows_affected)
    }

    /// The first events that match after a seq and at or below another, in order, up to so many and so many bytes; one more than fits comes
    /// where the bytes end, so that a page is never empty for that. The database adds the bytes up: what is not handed over is never here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn page(&self, account: AccountId, after: Seq, to: Seq, filter: &Filter, most: Most) -> Result<Page> {
        let so_far = Expr::cust("SUM(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)");
        let rows = event::Entity::find()
            .expr_as(so_far, "so_far")
            .filter(event::Column::AccountId.eq(account))
            .filter(event::Column::Seq.gt(after))
            .filter(event::Column::Seq.lte(to))
            .filter(filter.condition())
            .order_by_asc(event::Column::Seq)
            .limit(most.events)
            .into_query();
        let bytes = i64::try_from(most.bytes).unwrap_or(i64::MAX);
        let fitting = Query::select()
            .column(Asterisk)
            .from_subquery(rows, "page")
            .and_where(Expr::cust("so_far - octet_length(payload)").lt(bytes))
            .order_by("seq", Order::Asc)
            .take();
        let statement = self.db.dialect().build(&fitting);
        let rows = event::Model::find_by_statement(statement).all(self.db.read()).await?;
        let taken: usize = rows.iter().map(|row| row.payload.len()).sum();
        let whole = (rows.len() as u64) < most.events && taken < most.bytes;
        Ok(Page {
            entries: redacted(self.db.read(), account, rows).await?,
            whole,
        })
    }

    /// The last event at or below a seq that matches; 0 if none is kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_match(&self, account: AccountId, at_or_below: Seq, filter: &Filter) -> Result<Seq> {
        let row: Option<Seq> = event::Entity::find()
            .select_only()
            .column(event::Column::Seq)
            .filter(
                Condition::all()
                    .add(event::Column::AccountId.eq(account))
                    .add(event::Column::Seq.lte(at_or_below)),
            )
            .filter(filter.condition())
            .order_by_desc(event::Column::Seq)
            .limit(1)
            .into_tuple()
            .one(self.db.read())
            .await?;
        Ok(row.unwrap_or_default())
    }

    /// The last event before a time, so that reading after it starts with the first one at or after the time.
    ///
    /// Times never go back within a log, so the dense seqs are searched by halving, in one statement and without an index
    /// on time that every write would pay for.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn before(&self, reach: &Reach, time: Micros) -> Result<Seq> {
        let dialect = self.db.dialect();
        let [account, low, high, time_mark] = [1, 2, 3, 4].map(|nth| dialect.integer_parameter(nth));
        // low: an event before the time (or the place before the first); high: one not before it (or the place after the last).
        let sql = format!(
            "WITH RECURSIVE halving(low, high) AS (SELECT {low}, {high} UNION ALL \
             SELECT CASE WHEN e.occurred_at < {time_mark} THEN e.seq ELSE h.low END, \
                    CASE WHEN e.occurred_at < {time_mark} THEN h.high ELSE e.seq END \
             FROM halving h JOIN events e ON e.account_id = {account} AND e.seq = (h.low + h.high) / 2 WHERE h.high - h.low > 1) \
             SELECT max(low) AS low FROM halving"
        );
        let values = [reach.account.0, reach.earliest.0 - 1, reach.head.0 + 1, time.0].map(sea_orm::Value::from);
        let row = self.db.read().query_one_raw(dialect.statement(sql, values)).await?;
        let low: Option<i64> = row.map(|row| row.try_get("", "low")).transpose()?;
        Ok(Seq(low.unwrap_or(reach.head.0)))
    }
}

/// Locks the account's counters for the rest of the transaction: the one place where seqs come from. Locks of several
/// accounts are taken in rising order of their ids.
///
/// # Errors
/// [`Error::NotFound`] without such an account.
pub async fn lock(txn: &impl ConnectionTrait, account: AccountId) -> Result<account_log::Model> {
    let find = account_log::Entity::find_by_id(account);
    let row = Dialect::of(txn).lock_rows(find).one(txn).await?;
    row.ok_or_else(|| Error::not_found("account", account))
}

/// Appends events and moves the counters, in the transaction that locked them.
///
/// # Errors
/// When the database fails; the transaction must then be rolled back.
pub async fn append(txn: &impl ConnectionTrait, counters: &account_log::Model, entries: &[Entry]) -> Result<(), DbErr> {
    if !entries.is_empty() {
        event::Entity::insert_many(entries.iter().map(event::ActiveModel::from))
            .exec_without_returning(txn)
            .await?;
    }
    account_log::Entity::update(account_log::ActiveModel {
        account_id: Set(counters.account_id),
        head_seq: Set(counters.head_seq),
        last_conversation_id: Set(counters.last_conversation_id),
        last_message_id: Set(counters.last_message_id),
        last_occurred_at: Set(counters.last_occurred_at),
        ..Default::default()
    })
    .exec(txn)
    .await
    .map(drop)
}

/// The counters of a new account.
pub fn first_counters(account: AccountId) -> account_log::Model {
    account_log::Model {
        account_id: account,
        epoch: Epoch::random(),
        head_seq: Seq(0),
        earliest_seq: Seq(1),
        last_conversation_id: ConversationId(0),
        last_message_id: MessageId(0),
        last_occurred_at: Micros(0),
    }
}
