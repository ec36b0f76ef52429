//! What other replicas wrote to an account since this shard last read it. The log names the changed rows, so only those are evicted.

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

/// The number of events above which evicting the account and reading its rows again is quicker.
const MAX_EVENTS: u64 = 2000;

impl<B: BatchStore> WriterShard<B> {
    /// The state of an account under the lock, given its counters. Rows that changed since they were cached are evicted.
    ///
    /// # Errors
    /// [`Error::Database`](parley_types::error::Error::Database) and [`Error::Unavailable`](parley_types::error::Error::Unavailable) when a
    /// statement fails; [`Error::NotFound`](parley_types::error::Error::NotFound) if the account is gone.
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

/// The conversation and the contact of each event after one sequence number and up to another. `None` if there are more than [`MAX_EVENTS`], or
/// if some are no longer in the log.
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
