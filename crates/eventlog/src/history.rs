//! Whether a cursor belongs to the history that a log has. Histories fork when a database is restored, fails over to a standby that lagged
//! behind, or is copied and both copies are written to: then one seq has another event in each.

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
    log_range::Reach,
    mark::{Mark, PREFIX_BYTES},
};

/// The first bytes of a payload: the rest, which may be megabytes, is not read.
fn prefix() -> Expr {
    Expr::cust(format!("substr(payload, 1, {PREFIX_BYTES})"))
}

/// The mark of an event, by one indexed read; none if it is not there, or is no event of ours.
///
/// # Errors
/// When the database cannot be read.
pub async fn mark(db: &impl ConnectionTrait, account: AccountId, seq: Seq) -> Result<Option<Mark>, DbErr> {
    let payload: Option<Vec<u8>> = event::Entity::find_by_id((account, seq))
        .select_only()
        .expr_as(prefix(), "payload")
        .into_tuple()
        .one(db)
        .await?;
    Ok(payload.as_deref().and_then(Mark::of_payload))
}

/// The marks of the events whose seqs a query gives.
///
/// # Errors
/// When the database cannot be read.
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

/// Keeps the mark of the last event that retention is about to remove: a cursor may point there as long as the next event is kept.
///
/// # Errors
/// When the database fails.
pub(super) async fn keep_trimmed(db: &impl ConnectionTrait, account: AccountId, seq: Seq, mark: Mark) -> Result<(), DbErr> {
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
    /// The position after an event of this log, with its mark. At most one indexed read, and none at either end.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn cursor(&self, reach: &Reach, seq: Seq) -> Result<Cursor> {
        let cursor = reach.cursor(seq);
        if cursor.mark.is_some() || seq == Seq(0) {
            return Ok(cursor);
        }
        let mark = mark(self.database().read(), reach.account, seq).await?;
        Ok(Cursor { mark, ..cursor })
    }

    /// Checks that reading can go on after a cursor, and that the event there is the one that the cursor was given out for. Returns the
    /// position with the mark that the log has there. At most one indexed read, unless the event was trimmed meanwhile.
    ///
    /// Before the first event there is nothing to compare. Where the last release trimmed the log, which did not keep the mark, the position
    /// before the oldest event is taken by its seq alone, and so is a cursor without a mark.
    ///
    /// # Errors
    /// As [`Reach::check`]; [`parley_types::error::Error::Cursor`] with [`CursorFault::EpochChanged`] when another event is there; when the database
    /// cannot be read.
    pub(super) async fn locate(&self, reach: &Reach, cursor: Cursor) -> Result<Cursor> {
        let seq = reach.check(cursor)?;
        let mut reach = *reach;
        let mut found = self.cursor(&reach, seq).await?;
        if found.mark.is_none() && seq != Seq(0) {
            // Trimmed between the two reads: then it is expired by now, or its mark is among those that are kept.
            reach = self.reach(reach.account).await?;
            reach.check(cursor)?;
            found = reach.cursor(seq);
        }
        let is_another = found.mark.zip(cursor.mark).is_some_and(|(found, given)| found != given);
        if is_another && parley_fault::is_on(Protection::CursorMark) {
            return Err(reach.fault(CursorFault::EpochChanged));
        }
        Ok(found)
    }
}

/// How long cursors are still given out without their marks: while replicas of a release before marks, which refuse marked cursors, may
/// run on this database. Zero where no such release has ever run, or `after` a migration that was long enough ago.
///
/// # Errors
/// When the database does not answer.
pub async fn unmarked_for(db: &Database, after: Duration) -> Result<Duration> {
    let statement = db.dialect().unbound_statement("SELECT migrated_at FROM cursor_marks");
    let row = db.read().query_one_raw(statement).await?;
    let Some(migrated_at) = row.map(|row| row.try_get_by_index(0)).transpose()?.map(Micros) else {
        return Ok(Duration::ZERO);
    };
    let left = migrated_at.plus(after).0 - Micros::now().0;
    Ok(Duration::from_micros(u64::try_from(left).unwrap_or_default()))
}
