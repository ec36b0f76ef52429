//! A writer shard: a task that performs the writes of its share of the accounts, one batch after another.

use futures_util::future::BoxFuture;
use parley_eventlog::Events;
use parley_storage::Database;
use parley_types::id::AccountId;
use tokio::sync::mpsc;

use super::{
    account_cache::{AccountCache, AccountState},
    config::Config,
    planner::{BatchCall, BatchPlanner, BatchSize, Eviction},
    store::{BatchStore, Store},
};

/// An operation that runs on its own, in a transaction of the shard.
pub type Operation<B> = Box<dyn for<'s> FnOnce(&'s mut WriterShard<B>) -> BoxFuture<'s, ()> + Send>;

/// An entry in a shard's queue.
pub enum Job<B: BatchStore> {
    /// A call that is stored in a batch, together with other calls.
    Batched(Box<BatchCall<B>>),
    /// Any other write, which runs in a transaction of its own.
    Operation(Operation<B>),
}

/// The state of a shard: its caches and its database connection.
pub struct WriterShard<B: BatchStore> {
    pub(super) config: Config,
    pub(super) db: Database,
    pub(super) events: Events,
    pub(super) accounts: AccountCache,
    pub(super) planner: B,
    pub(super) store: Store,
}

impl<B: BatchStore> WriterShard<B> {
    /// Creates a shard with empty caches.
    pub fn new(config: Config, planner: B, db: Database, events: Events) -> Self {
        let store = Store::new(db.clone(), config.unlocked());
        Self {
            config,
            db,
            events,
            accounts: AccountCache::new(),
            planner,
            store,
        }
    }

    /// Runs until the last writer handle is dropped and the queue is empty.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Job<B>>) {
        let mut jobs = Vec::with_capacity(self.config.batch_items);
        while queue.recv_many(&mut jobs, self.config.batch_items).await > 0 {
            let mut batch = Batch::default();
            for job in jobs.drain(..) {
                match job {
                    Job::Batched(call) => {
                        if batch.is_full(&self.config) {
                            self.write_calls(std::mem::take(&mut batch).calls).await;
                        }
                        batch.add(*call);
                    }
                    // Keep the order of the queue, so that a caller's later write never overtakes an earlier one.
                    Job::Operation(operation) => {
                        self.write_calls(std::mem::take(&mut batch).calls).await;
                        operation(&mut self).await;
                    }
                }
            }
            self.write_calls(batch.calls).await;
        }
        self.store.close().await;
    }

    /// Caches the state of an account. If another account is evicted to make room, its rows are evicted too.
    pub(super) fn cache_account(&mut self, state: AccountState) {
        if let Some(evicted) = self.accounts.put(state) {
            self.planner.evict_account(evicted);
        }
    }

    /// Evicts an account and its rows.
    pub(super) fn evict_account(&mut self, account: AccountId) {
        self.accounts.remove(account);
        self.planner.evict_account(account);
    }

    /// Completes an eviction that the planner has begun: evicts the whole account if the number of rows that the write can affect is
    /// unbounded.
    pub(super) fn finish_eviction(&mut self, account: AccountId, eviction: Eviction) {
        if eviction == Eviction::Account {
            self.evict_account(account);
        }
    }
}

/// Calls that are stored together.
struct Batch<B: BatchPlanner> {
    calls: Vec<BatchCall<B>>,
    size: BatchSize,
}

impl<B: BatchPlanner> Default for Batch<B> {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            size: BatchSize::default(),
        }
    }
}

impl<B: BatchPlanner> Batch<B> {
    fn is_full(&self, config: &Config) -> bool {
        self.size.items >= config.batch_items || self.size.bytes >= config.batch_bytes
    }

    fn add(&mut self, call: BatchCall<B>) {
        let size = B::size(&call.items);
        self.size.items += size.items;
        self.size.bytes += size.bytes;
        self.calls.push(call);
    }
}
