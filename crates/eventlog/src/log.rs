//! The log of an account in the database: its counters and its events.
//!
//! Sequence numbers are dense and follow the order of commits: every write either locks the account's counter row ([`lock`]) or updates it
//! on the condition that it is unchanged, holds that row until it commits, and takes its sequence numbers from it. A reader that asks for
//! the events after a seq therefore never misses an event that commits late. A database sequence would not guarantee this: its values are
//! assigned at insert, but the rows become visible in the order of commits.

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
    event_record::EventRecord,
    filter::Filter,
    log_range::{self, LogRangeRow},
    redaction::redacted,
};

pub use crate::log_range::LogRange;

/// The event logs of all accounts.
#[derive(Clone, Debug)]
pub struct Log {
    db: Database,
}

/// Limits for one page of a log.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    pub events: u64,
    /// Total size of the payloads in bytes. The last event of a page may exceed it.
    pub bytes: usize,
}

/// A page of events that was read from a log.
#[derive(Debug)]
pub struct Page {
    /// The matching events, in order of seq.
    pub entries: Vec<EventRecord>,
    /// Whether no further event in the requested range matches.
    pub is_complete: bool,
}

impl Log {
    /// Creates a handle to the logs in `db`.
    pub fn new(db: Database) -> Self {
        Self { db }
    }

    pub(super) fn database(&self) -> &Database {
        &self.db
    }

    /// Applies the timeout of [`Database::with_long_timeout`] to a query of a background job.
    ///
    /// # Errors
    /// Returns the error from `asked`, or [`Error::Unavailable`] if it timed out.
    pub async fn with_long_timeout<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        self.db.with_long_timeout(asked).await
    }

    /// Returns the range of the account's log.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the account does not exist, [`Error::Unavailable`] if the database cannot be reached, and
    /// [`Error::Database`] if the query fails.
    pub async fn range(&self, account: AccountId) -> Result<LogRange> {
        let row = log_range::reaches().filter(account_log::Column::AccountId.eq(account));
        let row = row.into_model::<LogRangeRow>().one(self.db.read()).await?;
        row.map(LogRange::from).ok_or_else(|| Error::not_found("account", account))
    }

    /// Returns the ranges of the logs of `accounts`. Accounts that do not exist are left out.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if the query fails.
    pub async fn reaches(&self, accounts: &[AccountId]) -> Result<Vec<LogRange>> {
        let ids = accounts.iter().map(|account| account.0);
        let rows = log_range::reaches().filter(account_log::Column::AccountId.is_in(ids));
        let rows = rows.into_model::<LogRangeRow>().all(self.db.read()).await?;
        Ok(rows.into_iter().map(LogRange::from).collect())
    }

    /// Assigns a new epoch to the account's log if its epoch is still `epoch` and its head is below `seen`, the head observed earlier. The
    /// newest events of such a log have been lost, so subscribers may have received events that no longer belong to its history. Returns
    /// whether the epoch was changed.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if the statement fails.
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

    /// Assigns a new epoch to the account's log if its epoch is still `epoch`. Returns whether the epoch was changed.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if the statement fails.
    pub async fn replace(&self, account: AccountId, epoch: Epoch) -> Result<bool> {
        let replaced = account_log::Entity::update_many()
            .col_expr(account_log::Column::Epoch, Expr::value(Epoch::random().0))
            .filter(account_log::Column::AccountId.eq(account))
            .filter(account_log::Column::Epoch.eq(epoch))
            .exec(self.db.write())
            .await?;
        Ok(replaced.rows_affected > 0)
    }

    /// Assigns one new epoch to all logs, as required after a restore. Returns the number of logs.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if the statement fails.
    pub async fn replace_all(&self) -> Result<u64> {
        let replaced = account_log::Entity::update_many()
            .col_expr(account_log::Column::Epoch, Expr::value(Epoch::random().0))
            .exec(self.db.write())
            .await?;
        Ok(replaced.rows_affected)
    }

    /// Returns the matching events after the seq `after` and up to `to`, in order, within the page limits `most`. The event that reaches
    /// the byte limit is included, so a page is never empty because its first event is large. The database adds up the sizes, so events
    /// beyond the limit are never transferred.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if a query fails.
    pub async fn page(&self, account: AccountId, after: Seq, to: Seq, filter: &Filter, most: PageLimits) -> Result<Page> {
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
        let is_complete = (rows.len() as u64) < most.events && taken < most.bytes;
        Ok(Page {
            entries: redacted(self.db.read(), account, rows).await?,
            is_complete,
        })
    }

    /// Returns the seq of the last matching event at or below `at_or_below`, or 0 if no such event is kept.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if the query fails.
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

    /// Returns the seq of the last event before `time`, so that reading after it starts with the first event at or after `time`.
    ///
    /// Times never decrease within a log, so the dense seqs are searched by bisection. This needs only one statement, and no index on the
    /// time, which every write would have to maintain.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if the query fails.
    pub async fn before(&self, range: &LogRange, time: Micros) -> Result<Seq> {
        let dialect = self.db.dialect();
        let [account, low, high, time_mark] = [1, 2, 3, 4].map(|nth| dialect.integer_parameter(nth));
        // `low` is the seq of an event before `time`, or the position before the first event. `high` is the seq of an event that is not
        // before `time`, or the position after the last event.
        let sql = format!(
            "WITH RECURSIVE halving(low, high) AS (SELECT {low}, {high} UNION ALL \
             SELECT CASE WHEN e.occurred_at < {time_mark} THEN e.seq ELSE h.low END, \
                    CASE WHEN e.occurred_at < {time_mark} THEN h.high ELSE e.seq END \
             FROM halving h JOIN events e ON e.account_id = {account} AND e.seq = (h.low + h.high) / 2 WHERE h.high - h.low > 1) \
             SELECT max(low) AS low FROM halving"
        );
        let values = [range.account.0, range.earliest.0 - 1, range.head.0 + 1, time.0].map(sea_orm::Value::from);
        let row = self.db.read().query_one_raw(dialect.statement(sql, values)).await?;
        let low: Option<i64> = row.map(|row| row.try_get("", "low")).transpose()?;
        Ok(Seq(low.unwrap_or(range.head.0)))
    }
}

/// Locks the account's counter row for the rest of the transaction. Sequence numbers are taken from this row only. A transaction that locks
/// several accounts must lock them in ascending order of their ids, so that two such transactions cannot deadlock.
///
/// # Errors
/// Returns [`Error::NotFound`] if the account does not exist, [`Error::Unavailable`] if the database cannot be reached, and
/// [`Error::Database`] if the query fails.
pub async fn lock(txn: &impl ConnectionTrait, account: AccountId) -> Result<account_log::Model> {
    let find = account_log::Entity::find_by_id(account);
    let row = Dialect::of(txn).lock_rows(find).one(txn).await?;
    row.ok_or_else(|| Error::not_found("account", account))
}

/// Inserts events and updates the counters, in the transaction that locked the counters.
///
/// # Errors
/// Returns [`DbErr`] if a statement fails. The caller must then roll the transaction back.
pub async fn append(txn: &impl ConnectionTrait, counters: &account_log::Model, entries: &[EventRecord]) -> Result<(), DbErr> {
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

/// Returns the initial counters of a new account, with a random epoch.
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
