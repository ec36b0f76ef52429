//! Checks whether a cursor belongs to the history of its log. Histories fork when a database is restored, fails over to a standby that
//! lagged behind, or is copied and both copies are written to: the same seq is then a different event in each.

use std::{collections::HashMap, time::Duration};

use parley_fault::Protection;
use parley_storage::{
    Database,
    entity::{event, trimmed_event},
};
use parley_types::{
    error::{CursorFault, Result},
    id::{AccountId, Seq},
    time::Micros,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict, SelectStatement},
};

use crate::{
    cursor::Cursor,
    log::Log,
    log_range::LogRange,
    mark::{Mark, PREFIX_BYTES},
};

/// Selects the first bytes of a payload, so that the rest, which may be megabytes, is not read.
fn prefix() -> Expr {
    Expr::cust(format!("substr(payload, 1, {PREFIX_BYTES})"))
}

/// Reads the mark of an event with one indexed read. Returns `None` if the event does not exist or its payload is not an event.
///
/// # Errors
/// Returns [`DbErr`] if the query fails.
pub async fn mark(db: &impl ConnectionTrait, account: AccountId, seq: Seq) -> Result<Option<Mark>, DbErr> {
    let payload: Option<Vec<u8>> = event::Entity::find_by_id((account, seq))
        .select_only()
        .expr_as(prefix(), "payload")
        .into_tuple()
        .one(db)
        .await?;
    Ok(payload.as_deref().and_then(Mark::of_payload))
}

/// Reads the marks of the events whose seqs the subquery `seqs` returns.
///
/// # Errors
/// Returns [`DbErr`] if the query fails.
pub(super) async fn marks(db: &impl ConnectionTrait, account: AccountId, seqs: SelectStatement) -> Result<HashMap<Seq, Mark>, DbErr> {
    let rows: Vec<(Seq, Vec<u8>)> = event::Entity::find()
        .select_only()
        .column(event::Column::Seq)
        .expr_as(prefix(), "payload")
        .filter(event::Column::AccountId.eq(account))
        .filter(event::Column::Seq.in_subquery(seqs))
        .into_tuple()
        .all(db)
        .await?;
    let marks = rows
        .into_iter()
        .filter_map(|(seq, payload)| Some((seq, Mark::of_payload(&payload)?)));
    Ok(marks.collect())
}

/// Stores the mark of the last event that retention is about to remove, because a cursor may point to that event for as long as the next
/// one is kept. Changes nothing if the mark of a later event is already stored.
///
/// # Errors
/// Returns [`DbErr`] if the statement fails.
pub(super) async fn store_trimmed_mark(db: &impl ConnectionTrait, account: AccountId, seq: Seq, mark: Mark) -> Result<(), DbErr> {
    use trimmed_event::Column;
    let row = trimmed_event::ActiveModel {
        account_id: Set(account),
        seq: Set(seq),
        mark: Set(mark.to_stored()),
    };
    let further = OnConflict::column(Column::AccountId)
        .update_columns([Column::Seq, Column::Mark])
        .action_and_where(Expr::col((trimmed_event::Entity, Column::Seq)).lt(seq.0))
        .to_owned();
    trimmed_event::Entity::insert(row)
        .on_conflict(further)
        .exec_without_returning(db)
        .await
        .map(drop)
}

impl Log {
    /// Returns the position after the event `seq`, with its mark. Takes at most one indexed read, and none at either end of the log.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached, and `Error::Database` if the query fails.
    pub(super) async fn cursor(&self, range: &LogRange, seq: Seq) -> Result<Cursor> {
        let cursor = range.cursor(seq);
        if cursor.mark.is_some() || seq == Seq(0) {
            return Ok(cursor);
        }
        let mark = mark(self.database().read(), range.account, seq).await?;
        Ok(Cursor { mark, ..cursor })
    }

    /// Checks that reading can continue after `cursor`, and that the log still has the event for which the cursor was issued. Returns the
    /// cursor with the mark that the log has at its position. Takes at most one indexed read, unless the event is trimmed in the meantime.
    ///
    /// Before the first event, there is no mark to compare. Two other positions are accepted by their seq alone: any cursor without a mark,
    /// and the cursor directly before the oldest event of a log that was trimmed by the last release, which did not store the mark of the
    /// last trimmed event.
    ///
    /// # Errors
    /// Returns the errors of [`LogRange::check`]; `Error::Cursor` with [`CursorFault::EpochChanged`] if the log has a different event at
    /// the cursor's seq; `Error::Unavailable` or `Error::Database` if a query fails.
    pub(super) async fn locate(&self, range: &LogRange, cursor: Cursor) -> Result<Cursor> {
        let seq = range.check(cursor)?;
        let mut range = *range;
        let mut found = self.cursor(&range, seq).await?;
        if found.mark.is_none() && seq != Seq(0) {
            // The event was trimmed between the two reads: by now either the cursor has expired, or the mark of the event was stored.
            range = self.range(range.account).await?;
            range.check(cursor)?;
            found = range.cursor(seq);
        }
        let has_different_mark = found.mark.zip(cursor.mark).is_some_and(|(found, given)| found != given);
        if has_different_mark && parley_fault::is_on(Protection::CursorMark) {
            return Err(range.fault(CursorFault::EpochChanged));
        }
        Ok(found)
    }
}

/// Returns how much longer cursors must be issued without their marks, because replicas of a release without marks, which reject marked
/// cursors, may still be running on this database. Returns zero if no such release has ever run on it, or once `after` has passed since the
/// migration.
///
/// # Errors
/// Returns `Error::Unavailable` if the database cannot be reached, and `Error::Database` if the query fails.
pub async fn unmarked_cursor_period(db: &Database, after: Duration) -> Result<Duration> {
    let statement = db.dialect().unbound_statement("SELECT migrated_at FROM cursor_marks");
    let row = db.read().query_one_raw(statement).await?;
    let Some(migrated_at) = row.map(|row| row.try_get_by_index(0)).transpose()?.map(Micros) else {
        return Ok(Duration::ZERO);
    };
    let left = migrated_at.plus(after).0 - Micros::now().0;
    Ok(Duration::from_micros(u64::try_from(left).unwrap_or_default()))
}
