//! Retention: which events are kept, and for how long a durable consumer that lags behind can delay trimming.
//!
//! `earliest_seq` is raised before any row is deleted, and the oldest rows are deleted first. A reader that finds a row missing therefore
//! sees the raised `earliest_seq`, and returns an error instead of skipping the row.

use std::cmp;

use parley_storage::entity::{account_log, event};
use parley_types::{
    error::Result,
    id::{AccountId, Epoch, Seq},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Query},
};

use super::consumer;
use crate::{
    config::RetentionLimits,
    history,
    log::{Log, LogRange},
};

/// Maximum number of accounts that one query reads.
const ACCOUNTS: u64 = 500;

/// Maximum number of rows that one statement deletes.
const ROWS: i64 = 2000;

/// The start of an account's log, according to both the account's counters and the stored event rows.
#[derive(Debug, FromQueryResult)]
struct LogStart {
    account_id: i64,
    epoch: i64,
    earliest_seq: i64,
    head_seq: i64,
    oldest_row: Option<i64>,
    oldest_at: Option<i64>,
}

impl LogStart {
    fn range(&self) -> LogRange {
        LogRange {
            account: AccountId(self.account_id),
            epoch: Epoch(self.epoch),
            earliest: Seq(self.earliest_seq),
            head: Seq(self.head_seq),
            head_mark: None,
            trimmed_mark: None,
        }
    }

    /// Whether there are still rows below `earliest_seq`, which are no longer part of the log.
    fn has_rows_to_delete(&self) -> bool {
        self.oldest_row.is_some_and(|oldest| oldest < self.earliest_seq)
    }

    fn is_due(&self, keep: &RetentionLimits, now: Micros) -> bool {
        let old = self.oldest_at.is_some_and(|at| at < now.minus(keep.age).0);
        let many = keep.events.is_some_and(|most| self.head_seq - self.earliest_seq + 1 > most);
        old || many
    }
}

impl Log {
    /// Deletes the events that `keep` no longer retains at the time `now`. Stops once it has deleted `most` rows or slightly more. Returns
    /// the number of deleted rows.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` or `Error::Database` if a statement fails. Rows that were deleted before the failure stay deleted.
    pub async fn trim(&self, keep: &RetentionLimits, now: Micros, most: u64) -> Result<u64> {
        let (mut after, mut removed) = (AccountId(0), 0);
        loop {
            let page = self.log_starts(after).await?;
            for log_start in &page {
                if log_start.is_due(keep, now) {
                    let earliest = self.raise_earliest(&log_start.range(), keep, now).await?;
                    removed += self.remove_below(log_start, earliest, most.saturating_sub(removed)).await?;
                } else if log_start.has_rows_to_delete() {
                    removed += self
                        .remove_below(log_start, Seq(log_start.earliest_seq), most.saturating_sub(removed))
                        .await?;
                }
                if removed >= most {
                    return Ok(removed);
                }
            }
            match page.last() {
                Some(last) if page.len() as u64 == ACCOUNTS => after = AccountId(last.account_id),
                _ => return Ok(removed),
            }
        }
    }

    async fn log_starts(&self, after: AccountId) -> Result<Vec<LogStart>, DbErr> {
        use account_log::Column;
        let own = || Expr::col((event::Entity, event::Column::AccountId)).equals((account_log::Entity, Column::AccountId));
        let oldest_row = Query::select()
            .expr(Expr::col((event::Entity, event::Column::Seq)).min())
            .from(event::Entity)
            .and_where(own())
            .take();
        let oldest_at = Query::select()
            .column((event::Entity, event::Column::OccurredAt))
            .from(event::Entity)
            .and_where(own())
            .and_where(Expr::col((event::Entity, event::Column::Seq)).equals((account_log::Entity, Column::EarliestSeq)))
            .take();
        account_log::Entity::find()
            .select_only()
            .columns([Column::AccountId, Column::Epoch, Column::EarliestSeq, Column::HeadSeq])
            .expr_as(Expr::SubQuery(None, Box::new(oldest_row.into())), "oldest_row")
            .expr_as(Expr::SubQuery(None, Box::new(oldest_at.into())), "oldest_at")
            .filter(Column::AccountId.gt(after))
            .order_by_asc(Column::AccountId)
            .limit(ACCOUNTS)
            .into_model()
            .all(self.database().read())
            .await
    }

    /// Raises `earliest_seq` as far as `keep` requires, and returns the resulting value.
    async fn raise_earliest(&self, range: &LogRange, keep: &RetentionLimits, now: Micros) -> Result<Seq> {
        let aged = self.before(range, now.minus(keep.age)).await?;
        let consumers = consumer::list(self.database().read(), range.account, "", consumer::MAX_CONSUMERS).await?;
        let held = consumers.iter().filter(|consumer| consumer.epoch() == range.epoch);
        let held = held.map(consumer::Consumer::lowest_position).chain([aged]).min().unwrap_or(aged);
        let given_up = self.before(range, now.minus(keep.held)).await?;
        let too_many = keep.events.map(|most| Seq(range.head.0 - most));
        let last = [held, given_up].into_iter().chain(too_many).max().unwrap_or(held);
        let last = self.last_complete_write(range, last).await?;
        if last < range.earliest {
            return Ok(range.earliest);
        }
        // Store the mark first, so that a reader that sees the new `earliest_seq` also finds the mark of the event directly before that
        // seq.
        if let Some(mark) = history::mark(self.database().read(), range.account, last).await? {
            history::store_trimmed_mark(self.database().write(), range.account, last, mark).await?;
        }
        account_log::Entity::update_many()
            .col_expr(account_log::Column::EarliestSeq, Expr::value(last.0 + 1))
            .filter(account_log::Column::AccountId.eq(range.account))
            .filter(account_log::Column::Epoch.eq(range.epoch))
            .filter(account_log::Column::EarliestSeq.lte(last))
            .exec(self.database().write())
            .await?;
        Ok(last.next())
    }

    /// Returns the highest seq at or below `last` at which a write ends: only whole writes are trimmed.
    async fn last_complete_write(&self, range: &LogRange, last: Seq) -> Result<Seq, DbErr> {
        let next = event::Entity::find_by_id((range.account, last.next()))
            .select_only()
            .column(event::Column::TransactionId)
            .into_tuple::<Seq>()
            .one(self.database().read())
            .await?;
        Ok(next.map_or(last, |transaction| cmp::min(last, Seq(transaction.0 - 1))))
    }

    async fn remove_below(&self, log_start: &LogStart, earliest: Seq, most: u64) -> Result<u64> {
        let Some(mut from) = log_start.oldest_row else { return Ok(0) };
        let mut removed = 0;
        while from < earliest.0 && removed < most {
            let to = cmp::min(from + ROWS, earliest.0);
            let gone = event::Entity::delete_many()
                .filter(event::Column::AccountId.eq(log_start.account_id))
                .filter(event::Column::Seq.lt(to))
                .exec(self.database().write())
                .await?;
            removed += gone.rows_affected;
            from = to;
        }
        Ok(removed)
    }
}
