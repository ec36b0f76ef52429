//! The writer, which performs every write that appends events, with group commit.
//!
//! Each account belongs to one writer shard. A shard takes queued calls, up to a limit of items and bytes, stores them in one transaction,
//! publishes the events, and responds to the callers. There is no timer: a batch grows while the previous one is being committed. New
//! messages are stored together by set-based statements; other writes run one by one, each in a transaction of its own.
//!
//! The writer does not depend on the resources that it writes. The rules and statements for batched writes are provided by an
//! implementation of `BatchStore`, so the rules depend on the writer and never the reverse.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parley_eventlog::Events;
use parley_storage::Database;
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

mod account_cache;
mod batch;
pub mod call;
mod catch_up;
mod caught_panic;
mod config;
pub(crate) mod idempotency;
pub mod key_owner;
mod meter;
mod operation;
pub(crate) mod plan;
pub(crate) mod planner;
pub(crate) mod response_subject;
mod shard;
pub(crate) mod store;
pub(crate) mod texts;
mod unit;
mod write_set;

pub use config::Config;
pub use operation::{once, replayed};
pub use unit::Write;
pub use write_set::{AttachmentClaim, NewRows, WriteSet};

use call::{Answer, Call};
use planner::BatchCall;
use response_subject::ResponseSubject;
use shard::{Job, Operation, WriterShard};
use store::BatchStore;

/// A handle to the writer. Cheap to clone. When the last clone is dropped, the shards store the queued writes and terminate.
pub struct Writer<B: BatchStore> {
    shards: Arc<[mpsc::Sender<Job<B>>]>,
    planner_config: Arc<B::Config>,
}

impl<B: BatchStore> Clone for Writer<B> {
    fn clone(&self) -> Self {
        Self {
            shards: Arc::clone(&self.shards),
            planner_config: Arc::clone(&self.planner_config),
        }
    }
}

impl<B: BatchStore> std::fmt::Debug for Writer<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

/// The retry delay suggested to callers when a queue is full: about the time that a shard needs to empty its queue.
const RETRY: Duration = Duration::from_millis(200);

impl<B: BatchStore> Writer<B> {
    /// Starts the shards, and returns the writer and the set of their tasks. The shards terminate once every clone of the writer has been
    /// dropped and their queues are empty, so await the set to flush the writer. If a shard terminates earlier, it has failed and nothing
    /// can be written to its accounts, so the process must exit.
    pub fn start(config: &Config, planner_config: B::Config, db: &Database, events: &Events) -> (Self, JoinSet<()>) {
        let count = if db.backend() == sea_orm::DbBackend::Sqlite {
            1
        } else {
            config.shards
        };
        let mut tasks = JoinSet::new();
        let senders = (0..count).map(|_| {
            let (sender, receiver) = mpsc::channel(config.queue);
            let planner = B::new(&planner_config, db, count);
            let shard = WriterShard::new(config.clone(), planner, db.clone(), events.clone()).run(receiver);
            tasks.spawn(parley_fault::measured(
                "writer shard",
                parley_fault::with_requested_panic("writer shard", shard),
            ));
            sender
        });
        let shards: Arc<[_]> = senders.collect();
        meter::queues(&shards);
        let planner_config = Arc::new(planner_config);
        (Self { shards, planner_config }, tasks)
    }

    /// Returns the settings that the planners of all shards share.
    pub fn planner_config(&self) -> &B::Config {
        &self.planner_config
    }

    /// Stores either all or none of a call's items, in a batch together with those of other calls.
    ///
    /// Not cancel safe: if the future is dropped before it completes, the items might still be stored. A call that must not be executed
    /// twice needs an idempotency key.
    ///
    /// # Errors
    /// [`Error::Busy`] if the queue is full; [`Error::Unavailable`] if the writer is shutting down; otherwise the errors of the rules.
    pub async fn write_batched(&self, call: Call<B::Output>, items: B::Items) -> Result<Answer<B::Output>> {
        let (reply, answer) = oneshot::channel();
        let account = call.account;
        self.submit(account, Job::Batched(Box::new(BatchCall { call, items, reply })))?;
        answer.await.map_err(|_| stopping())?
    }

    /// Runs an operation in a transaction of its own, under the row lock of the account's counters.
    ///
    /// Not cancel safe, like [`Writer::write_batched`].
    ///
    /// # Errors
    /// [`Error::Busy`] if the queue is full; [`Error::Unavailable`] if the writer is shutting down; otherwise the errors of the operation.
    /// If the operation fails, none of its changes are stored.
    pub async fn write<T, F>(&self, call: Call<T>, operation: F) -> Result<Answer<T>>
    where
        T: ResponseSubject + Send + 'static,
        F: for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let account = call.account;
        let job: Operation<B> = Box::new(move |shard| {
            Box::pin(async move {
                // If the caller is no longer waiting, the result is dropped, but the stored changes remain.
                let _ = reply.send(shard.run_operation(call, operation).await);
            })
        });
        self.submit(account, Job::Operation(job))?;
        answer.await.map_err(|_| stopping())?
    }

    fn submit(&self, account: AccountId, job: Job<B>) -> Result<()> {
        let shard = usize::try_from(account.0.unsigned_abs()).unwrap_or_default() % self.shards.len();
        self.shards[shard].try_send(job).map_err(|error| match error {
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
