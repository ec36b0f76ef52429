//! Catches up with the writes of other replicas to an account. The log names the rows that they changed, so only those are evicted from the
//! cache.

use std::sync::Arc;

use parley_storage::{
    entity::{account_log, event},
    load,
};
use parley_types::{
    error::Result,
    id::{AccountId, Seq},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};

use super::{account_cache::AccountState, planner::ChangedRows, shard::WriterShard, store::BatchStore};

/// Above this number of events, evicting the account and reading its rows again is faster.
const MAX_EVENTS: u64 = 2000;

impl<B: BatchStore> WriterShard<B> {
    /// Returns the state of an account whose counters are locked, and evicts the rows that changed since they were cached.
    ///
    /// # Errors
    /// [`Error::Database`](parley_types::error::Error::Database) or [`Error::Unavailable`](parley_types::error::Error::Unavailable) if a
    /// query fails; [`Error::NotFound`](parley_types::error::Error::NotFound) if the account no longer exists.
    pub(super) async fn catch_up(
        &mut self,
        db: &impl ConnectionTrait,
        account: AccountId,
        counters: account_log::Model,
    ) -> Result<AccountState> {
        let cached = self.accounts.get_mut(account).map(|state| state.counters.clone());
        let contended = cached.as_ref().is_none_or(|cached| cached.head_seq != counters.head_seq);
        match cached {
            Some(cached) if cached.epoch == counters.epoch => match changed_rows(db, account, cached.head_seq, counters.head_seq).await? {
                Some(changes) => {
                    let eviction = self.planner.evict_logged(account, &changes, cached.last_occurred_at);
                    self.finish_eviction(account, eviction);
                }
                None => self.evict_account(account),
            },
            _ => self.evict_account(account),
        }
        let row = match self.accounts.get_mut(account) {
            Some(state) => Arc::clone(&state.account),
            None => load::account(db, account).await?,
        };
        Ok(AccountState {
            account: row,
            counters,
            contended,
        })
    }
}

/// Returns the conversation and the contact of each event after `after`, up to and including `to`. `None` if there are more than
/// [`MAX_EVENTS`], or if some are no longer in the log.
async fn changed_rows(db: &impl ConnectionTrait, account: AccountId, after: Seq, to: Seq) -> Result<Option<Vec<ChangedRows>>> {
    let count = to.0 - after.0;
    if count == 0 {
        return Ok(Some(Vec::new()));
    }
    let Some(expected) = u64::try_from(count).ok().filter(|count| *count <= MAX_EVENTS) else {
        return Ok(None);
    };
    let rows: Vec<ChangedRows> = event::Entity::find()
        .select_only()
        .columns([event::Column::ConversationId, event::Column::ContactId])
        .filter(event::Column::AccountId.eq(account))
        .filter(event::Column::Seq.gt(after))
        .filter(event::Column::Seq.lte(to))
        .into_tuple()
        .all(db)
        .await?;
    Ok((rows.len() as u64 == expected).then_some(rows))
}
