//! Commits: a session advances the stored position of its shard.

use parley_fault::Protection;
use parley_storage::entity::consumer_shard::{self, Column};
use parley_types::{
    error::{ConsumerFault, CursorFault, Error, Result, Rule},
    id::Seq,
    time::Micros,
};
use sea_orm::{
    ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{CaseStatement, Expr},
};

use super::{ConsumerShardId, owned_by, session::Session};
use crate::{cursor::Cursor, history};

impl Session {
    /// Records that all events up to and including the position of `cursor` have been processed. Returns the stored position, which is
    /// ahead of `cursor` if an earlier commit was.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the cursor is ahead of the position up to which this session was sent events; [`Error::CursorForeign`]
    /// if the cursor belongs to another account; [`Error::Cursor`] if it belongs to another history; [`Error::Consumer`] once a newer
    /// session owns the shard; [`Error::Unavailable`] or [`Error::Database`] if a statement fails.
    pub async fn commit(&mut self, cursor: Cursor) -> Result<Cursor> {
        let position = self.position();
        if cursor.account != position.account {
            return Err(Error::CursorForeign);
        }
        if cursor.epoch != position.epoch {
            let range = self.broadcaster.log.range(position.account).await?;
            return Err(range.fault(CursorFault::EpochChanged));
        }
        if cursor.seq > position.seq {
            return Err(Error::invalid(
                "commit.cursor",
                Rule::OutOfRange(position.seq.0),
                "must not be ahead of the last event sent to this session",
            ));
        }
        let db = self.broadcaster.log.database();
        let known = match () {
            () if cursor.seq == position.seq => position.mark,
            // Reading the mark takes one indexed read in addition to the write.
            () => history::mark(db.read(), position.account, cursor.seq).await?,
        };
        let has_different_mark = known.zip(cursor.mark).is_some_and(|(known, given)| known != given);
        if has_different_mark && parley_fault::is_on(Protection::CursorMark) {
            let range = self.broadcaster.log.range(position.account).await?;
            return Err(range.fault(CursorFault::EpochChanged));
        }
        let seq: Seq = store(db.write(), &self.shard_id, self.fence, cursor).await?;
        let mark = match seq {
            seq if seq == cursor.seq => known.or(cursor.mark),
            // An earlier commit has stored a position further ahead.
            seq => history::mark(db.read(), position.account, seq).await?,
        };
        Ok(Cursor { seq, mark, ..position })
    }
}

/// Stores a position and returns the position that is stored afterwards. If the stored position is further ahead or belongs to another
/// epoch, it does not change.
///
/// # Errors
/// Returns [`Error::Consumer`] if a newer session owns the shard, and [`Error::Unavailable`] or [`Error::Database`] if the statement fails.
async fn store(db: &impl ConnectionTrait, shard_id: &ConsumerShardId, fence: i64, to: Cursor) -> Result<Seq> {
    let now = Micros::now();
    let further = Expr::col(Column::Seq).lt(to.seq.0).and(Expr::col(Column::Epoch).eq(to.epoch.0));
    let seq = CaseStatement::new().case(further, to.seq.0).finally(Expr::col(Column::Seq));
    let rows = consumer_shard::Entity::update_many()
        .col_expr(Column::Seq, seq.into())
        .col_expr(Column::CommittedAt, Expr::value(now.0))
        .filter(owned_by(shard_id, fence))
        .exec_with_returning(db)
        .await?;
    let row = rows.first().ok_or(Error::Consumer(ConsumerFault::TakenOver))?;
    Ok(row.seq)
}
