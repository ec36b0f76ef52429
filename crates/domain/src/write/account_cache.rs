//! Cached counters of accounts, as of the last write or read of this shard.
//!
//! Every change of an account's rows moves the head of its log. If the head has not moved since a row was read, the row has not changed either,
//! so a batch that is stored *on condition of the head* needs no lock and no read before. Users are not part of an account, so a change of a
//! user moves the head of each of its accounts (`agent.updated`) for this reason.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use parley_storage::entity::{account, account_log};
use parley_types::id::AccountId;

/// Accounts whose counters a shard caches. Checked at compile time.
const ACCOUNTS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// An account and its counters.
#[derive(Clone, Debug)]
pub struct AccountState {
    /// The account.
    pub account: Arc<account::Model>,
    /// Its counters after this shard's last write or read.
    pub counters: account_log::Model,
    /// Another replica writes to the account too, so storing on condition of the head would fail: plan under the lock at once.
    pub contended: bool,
}

/// The least recently used accounts are evicted first.
#[derive(Debug)]
pub struct AccountCache(LruCache<AccountId, AccountState>);

impl AccountCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self(LruCache::new(ACCOUNTS))
    }

    /// The cached state of an account.
    pub fn get_mut(&mut self, id: AccountId) -> Option<&mut AccountState> {
        self.0.get_mut(&id)
    }

    /// Caches the state of an account, and returns the account that was evicted to make room.
    pub fn put(&mut self, state: AccountState) -> Option<AccountId> {
        let id = state.account.id;
        let replaced = self.0.push(id, state);
        replaced.map(|(replaced, _)| replaced).filter(|replaced| *replaced != id)
    }

    /// Drops the state of an account.
    pub fn remove(&mut self, id: AccountId) {
        self.0.pop(&id);
    }
}
