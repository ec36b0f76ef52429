//! The accounts and counters that a writer shard caches, as of its last write to or read of each account.
//!
//! Every change to an account's rows advances the head of its log. If the head has not moved since a row was read, the row has not changed
//! either, so a batch that is stored *on condition that the head has not moved* needs neither a lock nor a read before it. Users do not
//! belong to an account; for this reason, a change to a user advances the head of each of its accounts (`agent.updated`).

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use parley_storage::entity::{account, account_log};
use parley_types::id::AccountId;

/// The number of accounts whose counters a shard caches. `unwrap` cannot fail at run time, because it is evaluated at compile time.
const ACCOUNTS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// An account and its counters.
#[derive(Clone, Debug)]
pub struct AccountState {
    /// The account.
    pub account: Arc<account::Model>,
    /// The account's counters as of this shard's last read or write.
    pub counters: account_log::Model,
    /// Whether another replica also writes to the account. An optimistic write, which requires that the head has not moved, would then
    /// probably fail, so calls take the row lock from the start.
    pub contended: bool,
}

/// An LRU cache of account states.
#[derive(Debug)]
pub struct AccountCache(LruCache<AccountId, AccountState>);

impl AccountCache {
    /// Creates an empty cache.
    pub fn new() -> Self {
        Self(LruCache::new(ACCOUNTS))
    }

    /// Returns the cached state of an account.
    pub fn get_mut(&mut self, id: AccountId) -> Option<&mut AccountState> {
        self.0.get_mut(&id)
    }

    /// Caches the state of an account, and returns the account that was evicted to make room, if any.
    pub fn put(&mut self, state: AccountState) -> Option<AccountId> {
        let id = state.account.id;
        let replaced = self.0.push(id, state);
        replaced.map(|(replaced, _)| replaced).filter(|replaced| *replaced != id)
    }

    /// Removes the state of an account from the cache.
    pub fn remove(&mut self, id: AccountId) {
        self.0.pop(&id);
    }
}
