//! A lane: one task that writes for a share of the accounts, one batch after another.

use futures_util::future::BoxFuture;
use parley_eventlog::Events;
use parley_storage::Database;
use parley_types::id::{AccountId, ConversationId};
use tokio::sync::mpsc;

use super::{
    cache::Cache,
    config::{Config, Messages},
    store::Store,
};

/// A verb that runs alone in a transaction of the lane.
pub type Verb = Box<dyn for<'l> FnOnce(&'l mut WriterShard) -> BoxFuture<'l, ()> + Send>;

pub enum Job {
    Messages(Box<Messages>),
    Verb(Verb),
}

/// A lane and what it keeps at hand.
pub struct WriterShard {
    pub(super) config: Config,
    pub(super) db: Database,
    pub(super) events: Events,
    pub(super) cache: Cache,
    pub(super) store: Store,
    /// Conversations that the batch in hand opened for want of an agent.
    pub(super) opened: Vec<(AccountId, ConversationId)>,
}

impl WriterShard {
    /// A lane that shares the cache's room with its sisters.
    pub fn new(config: Config, db: Database, events: Events, lanes: usize) -> Self {
        let cache = Cache::new(config.cached_conversations / lanes.max(1));
        let store = Store::new(db.clone(), config.unlocked());
        Self {
            config,
            db,
            events,
            cache,
            store,
            opened: Vec::new(),
        }
    }

    /// Works until the last writer is gone and the queue is empty.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(self.config.batch_messages);
        while queue.recv_many(&mut jobs, self.config.batch_messages).await > 0 {
            let mut batch = Batch::default();
            for job in jobs.drain(..) {
                match job {
                    Job::Messages(messages) => {
                        if batch.full(&self.config) {
                            self.messages(std::mem::take(&mut batch).calls).await;
                        }
                        batch.add(*messages);
                    }
                    // In the order of the queue: a caller's later write never overtakes an earlier one.
                    Job::Verb(verb) => {
                        self.messages(std::mem::take(&mut batch).calls).await;
                        verb(&mut self).await;
                    }
                }
            }
            self.messages(batch.calls).await;
        }
        self.store.close().await;
    }
}

/// Calls that go together.
#[derive(Default)]
struct Batch {
    calls: Vec<Messages>,
    messages: usize,
    bytes: usize,
}

impl Batch {
    fn full(&self, config: &Config) -> bool {
        self.messages >= config.batch_messages || self.bytes >= config.batch_bytes
    }

    fn add(&mut self, call: Messages) {
        self.messages += call.items.len();
        self.bytes += call
            .items
            .iter()
            .map(|(_, new)| new.content.as_ref().map_or(0, String::len))
            .sum::<usize>();
        self.calls.push(call);
    }
}
