//! The range of seqs in the log of an account, with the marks at both ends.

use parley_fault::Protection;
use parley_storage::entity::account_log;
use parley_types::{
    error::{CursorFault, Error, Result},
    id::{AccountId, Epoch, Seq},
};
use sea_orm::{EntityTrait, FromQueryResult, QuerySelect, Select, sea_query::Expr};

use crate::{
    cursor::Cursor,
    mark::{Mark, PREFIX_BYTES},
};

/// The range of seqs that one account's log contains, with the marks at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    pub account: AccountId,
    /// Identifies the history of the log. It changes when the history is replaced, for example by restoring a backup, so that cursors of
    /// the previous history can be rejected.
    pub epoch: Epoch,
    /// The seq of the oldest event that is kept, or `head + 1` if no event is kept.
    pub earliest: Seq,
    /// The seq of the newest event; 0 if no event has been written yet.
    pub head: Seq,
    /// The mark of the newest event, or `None` if that event is not kept.
    pub head_mark: Option<Mark>,
    /// The mark of the event just before the oldest event that is kept, or `None` if that mark is unknown.
    pub trimmed_mark: Option<Mark>,
}

impl LogRange {
    /// Returns the position after the event `seq`. The position has a mark only if it is at either end of the log.
    pub fn cursor(&self, seq: Seq) -> Cursor {
        let trimmed = self.trimmed_mark.filter(|_| seq.next() == self.earliest);
        Cursor {
            account: self.account,
            epoch: self.epoch,
            seq,
            mark: trimmed.or(self.head_mark.filter(|_| seq == self.head)),
        }
    }

    /// Returns the position after the newest event.
    pub fn head_cursor(&self) -> Cursor {
        self.cursor(self.head)
    }

    /// Returns the error for a cursor with the fault `fault`. The error includes the range of the log.
    pub(super) fn fault(&self, fault: CursorFault) -> Error {
        Error::Cursor {
            fault,
            earliest: self.earliest,
            head: self.head,
            epoch: self.epoch,
        }
    }

    /// Checks the account, epoch and seq of a cursor, and returns the seq. `Log::locate` also compares the cursor's mark with that of the
    /// stored event.
    ///
    /// # Errors
    /// Returns [`Error::CursorForeign`] if the cursor belongs to another account, and [`Error::Cursor`] if it belongs to another epoch, is
    /// ahead of the head, or is followed by events that were trimmed.
    pub fn check(&self, cursor: Cursor) -> Result<Seq> {
        let fault = |fault| Err(self.fault(fault));
        if cursor.account != self.account {
            return Err(Error::CursorForeign);
        }
        if cursor.epoch != self.epoch && parley_fault::is_on(Protection::EpochCheck) {
            return fault(CursorFault::EpochChanged);
        }
        if cursor.seq > self.head {
            return fault(CursorFault::Ahead);
        }
        if cursor.seq.next() < self.earliest {
            return fault(CursorFault::Expired);
        }
        Ok(cursor.seq)
    }
}

/// A row that the query [`reaches`] returns.
#[derive(Debug, FromQueryResult)]
pub(super) struct LogRangeRow {
    account_id: AccountId,
    epoch: Epoch,
    head_seq: Seq,
    earliest_seq: Seq,
    /// The first bytes of the newest event's payload, which contain its mark.
    head: Option<Vec<u8>>,
    /// The mark of the event just before the oldest event that is kept.
    trimmed: Option<i64>,
}

impl From<LogRangeRow> for LogRange {
    fn from(row: LogRangeRow) -> Self {
        Self {
            account: row.account_id,
            epoch: row.epoch,
            earliest: row.earliest_seq,
            head: row.head_seq,
            head_mark: row.head.as_deref().and_then(Mark::of_payload),
            trimmed_mark: row.trimmed.map(Mark::from_stored),
        }
    }
}

/// Selects the ranges of logs, with the marks at both ends. A single statement reads both, so that the marks match the seqs.
pub(super) fn reaches() -> Select<account_log::Entity> {
    use account_log::Column;
    let head = format!(
        "(SELECT substr(e.payload, 1, {PREFIX_BYTES}) FROM events e \
          WHERE e.account_id = account_logs.account_id AND e.seq = account_logs.head_seq)"
    );
    let trimmed =
        "(SELECT t.mark FROM trimmed_events t WHERE t.account_id = account_logs.account_id AND t.seq = account_logs.earliest_seq - 1)";
    account_log::Entity::find()
        .select_only()
        .columns([Column::AccountId, Column::Epoch, Column::HeadSeq, Column::EarliestSeq])
        .expr_as(Expr::cust(head), "head")
        .expr_as(Expr::cust(trimmed), "trimmed")
}
