//! The writer: group commit. Every write that makes an event goes this way.
//!
//! An account belongs to one lane. A lane takes what is queued, up to a count and a byte bound, runs it in one
//! transaction, commits, answers every waiter, and hands the events to the hub. No timer: a batch grows while the last one
//! commits. New messages go together in set-based statements; rarer verbs run one by one inside a transaction of the lane.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parley_eventlog::Events;
use parley_storage::{Database, joined::Message};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ConversationId},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    messages::new_message::NewMessage,
    write::call::{Answer, Call},
};

mod admit;
mod batch;
mod cache;
pub mod call;
mod catch_up;
mod config;
mod flood;
mod idempotency;
pub mod key_owner;
mod lookup;
mod meter;
mod operation;
mod panic;
mod plan;
mod shard;
mod store;
mod unit;
mod write_set;

pub use config::Config;
pub use idempotency::{erase as erase_replies, hand_over as hand_over_replies};
pub use operation::{once, repeated};
pub use unit::Write;
pub use write_set::{Claim, WriteSet};

use config::Messages;
use shard::{Job, Verb};

/// The door to the lanes. Cheap to clone; when the last clone is dropped, the lanes finish what is queued and end.
#[derive(Clone)]
pub struct Writer {
    lanes: Arc<[mpsc::Sender<Job>]>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("lanes", &self.lanes.len()).finish()
    }
}

/// When to try again after a full queue: about what a lane needs to empty it.
const RETRY: Duration = Duration::from_millis(200);

impl Writer {
    /// Starts the lanes. They end when every clone of the writer is dropped and what was queued is done: await the set
    /// to empty the writer. One that ends before has failed, and no account of its share can be written to: exit then.
    pub fn start(config: &Config, db: &Database, events: &Events) -> (Self, JoinSet<()>) {
        let lanes = if db.backend() == sea_orm::DbBackend::Sqlite {
            1
        } else {
            config.lanes
        };
        let mut tasks = JoinSet::new();
        let senders = (0..lanes).map(|_| {
            let (sender, receiver) = mpsc::channel(config.queue);
            let shard = shard::WriterShard::new(config.clone(), db.clone(), events.clone(), lanes).run(receiver);
            tasks.spawn(parley_fault::measured("writer shard", parley_fault::fragile("writer shard", shard)));
            sender
        });
        let lanes: Arc<[_]> = senders.collect();
        meter::queues(&lanes);
        (Self { lanes }, tasks)
    }

    /// Stores new messages, all or none.
    ///
    /// Not cancel safe: dropped before it is done, the messages may still be stored. That is what a request's key is for.
    ///
    /// # Errors
    /// [`Error::Busy`] when the queue is full; what the rules of messages refuse.
    pub async fn messages(
        &self,
        call: Call<Vec<Arc<Message>>>,
        items: Vec<(ConversationId, NewMessage)>,
    ) -> Result<Answer<Vec<Arc<Message>>>> {
        let (reply, answer) = oneshot::channel();
        let account = call.account;
        self.submit(account, Job::Messages(Box::new(Messages { call, items, reply })))?;
        answer.await.map_err(|_| stopping())?
    }

    /// Runs a verb in a transaction of its own, after the account's counters are locked.
    ///
    /// Not cancel safe, as [`Writer::messages`].
    ///
    /// # Errors
    /// [`Error::Busy`] when the queue is full; what the verb returns, and then nothing of it is stored.
    pub async fn write<T, F>(&self, call: Call<T>, verb: F) -> Result<Answer<T>>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let account = call.account;
        let job: Verb = Box::new(move |lane| {
            Box::pin(async move {
                // The caller may have gone; what was stored stays stored.
                let _ = reply.send(lane.verb(call, verb).await);
            })
        });
        self.submit(account, Job::Verb(job))?;
        answer.await.map_err(|_| stopping())?
    }

    fn submit(&self, account: AccountId, job: Job) -> Result<()> {
        let lane = usize::try_from(account.0.unsigned_abs()).unwrap_or_default() % self.lanes.len();
        self.lanes[lane].try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy { retry_after: RETRY },
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })
    }
}

fn stopping() -> Error {
    Error::Unavailable {
        reason: "the server is shutting down",
        retry_after: Duration::from_secs(1),
    }
}
