//! What a kind of batched writes provides to the writer: the rules that plan a call, and a cache of the rows that they read.
//!
//! The writer owns everything that does not depend on the kind: queues, bounds, the counters of accounts, locks, idempotency, the answers. A
//! kind never takes a lock and never decides what is retried.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use parley_eventlog::pending_event::PendingEvent;
use parley_storage::{Database, entity::account};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId, ConversationId},
    time::Micros,
};
use sea_orm::ConnectionTrait;
use tokio::sync::oneshot;

use super::{
    call::{Answer, Call},
    idempotency::{self, StoredResponses},
    response_subject::ResponseSubject,
    texts::{RenderedTexts, TextRequest},
    unit::Write,
    write_set::{NewRows, WriteSet},
};
use crate::auth::caller::Access;

/// A call of a batched kind: all of its items are stored, or none.
pub struct BatchCall<B: BatchPlanner> {
    /// The caller, the account, and the idempotency key.
    pub call: Call<B::Output>,
    /// What the call writes.
    pub items: B::Items,
    pub(super) reply: oneshot::Sender<Result<Answer<B::Output>>>,
}

impl<B: BatchPlanner> fmt::Debug for BatchCall<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchCall").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<B: BatchPlanner> BatchCall<B> {
    /// Whether the call has to be executed: no response to it is stored.
    pub fn is_new(&self, stored: &StoredResponses) -> bool {
        let key = self.call.key.as_ref();
        key.is_none_or(|key| idempotency::find(key, stored).is_none())
    }
}

/// How much a call adds to a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchSize {
    /// Its items.
    pub items: usize,
    /// Bytes of their content.
    pub bytes: usize,
}

/// What became of the rows that a kind had cached of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The changed rows are evicted; the rest of the cache is current.
    Rows,
    /// The change concerns any number of rows, so the writer has to evict the account.
    Account,
}

/// An operation that follows from stored batches. The writer runs it after their calls are answered, in a transaction of its own.
pub struct FollowUp {
    /// The account.
    pub account: AccountId,
    /// The operation.
    pub operation: FollowUpOperation,
    /// The log line for a failed operation. It is not retried.
    pub failure: &'static str,
}

impl fmt::Debug for FollowUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowUp").field("account", &self.account).finish_non_exhaustive()
    }
}

/// See [`FollowUp::operation`].
pub type FollowUpOperation = Box<dyn for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<()>> + Send>;

/// The conversation and the contact of an event in the log.
pub type ChangedRows = (Option<ConversationId>, Option<ContactId>);

/// A kind of writes that are stored in batches. Each writer shard has a planner of its own, with its own cache.
///
/// All methods that are not async are pure computations: they run on a runtime thread between two statements.
pub trait BatchPlanner: Sized + Send + Sync + 'static {
    /// Settings of the kind.
    type Config: Clone + Send + Sync + 'static;
    /// What one call writes.
    type Items: Send + Sync + 'static;
    /// The result of one call.
    type Output: ResponseSubject + Send + Sync + 'static;
    /// The rows that planning a batch reads: cached, or loaded before.
    type Context: Clone + Send + Sync;
    /// The changes of one planned call, until they are merged into the plan.
    type Changes;
    /// The rows that a plan stores.
    type Rows: Default + Send + Sync;

    /// A planner with an empty cache. `shards` planners share the room of the cache.
    fn new(config: &Self::Config, db: &Database, shards: usize) -> Self;

    /// How much a call adds to a batch.
    fn size(items: &Self::Items) -> BatchSize;

    /// Whether a call can be planned only under the lock of the account's counters.
    fn needs_lock(items: &Self::Items) -> bool;

    /// Takes the rows that the calls change from the cache, and reads the others: a fixed number of statements, however many calls.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Unavailable`] when a statement fails.
    fn load_rows<C: ConnectionTrait>(
        &mut self,
        db: &C,
        account: &Arc<account::Model>,
        calls: &[BatchCall<Self>],
    ) -> impl Future<Output = Result<Self::Context>> + Send;

    /// Reads what else the calls refer to. Runs after [`BatchPlanner::load_rows`], once it is known which calls are new.
    ///
    /// # Errors
    /// As [`BatchPlanner::load_rows`].
    fn load_references<C: ConnectionTrait>(
        &mut self,
        db: &C,
        context: &mut Self::Context,
        account: AccountId,
        calls: &[BatchCall<Self>],
        stored: &StoredResponses,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Whether a call may need a text rendered. If so, the batch is planned once more after the missing texts are rendered.
    fn may_need_texts(context: &Self::Context, calls: &[BatchCall<Self>]) -> bool;

    /// Renders texts on a compute pool, within a bounded time. Texts that are missing in the result are stored unrendered.
    fn render(requests: Vec<TextRequest>) -> impl Future<Output = RenderedTexts> + Send;

    /// Plans one call: applies the rules to the rows in `context`, or in `planned` if an earlier call of the batch changed them.
    ///
    /// A call that fails or panics must leave no change behind, apart from reserved ids and uploads taken out of `context`.
    ///
    /// # Errors
    /// What the rules refuse; the call is answered with it.
    fn plan_call(
        &self,
        context: &mut Self::Context,
        planned: &Self::Rows,
        set: &mut WriteSet,
        call: &BatchCall<Self>,
        access: &Access,
    ) -> Result<(Self::Output, Self::Changes)>;

    /// Adds the changes and new rows of a planned call to the plan. It must not panic: the call's events are already part of the plan.
    fn merge(context: &mut Self::Context, planned: &mut Self::Rows, changes: Self::Changes, new: NewRows);

    /// The number of items that a plan stores.
    fn item_count(planned: &Self::Rows) -> usize;

    /// The error of a call for a constraint that it broke in the database.
    fn constraint_error(error: Error) -> Error;

    /// Caches the rows of a plan that was committed.
    fn apply_commit(&mut self, account: AccountId, stored: Self::Rows);

    /// Evicts the rows that these events, written by this shard, changed.
    fn evict_changed(&mut self, account: AccountId, drafts: &[PendingEvent]) -> Eviction;

    /// Evicts the rows that another replica changed, by the events that the log holds. An event with neither a conversation nor a contact may
    /// stand for a change of any number of rows. `cached_at` is the time of the last write that the cache reflects.
    fn evict_logged(&mut self, account: AccountId, changes: &[ChangedRows], cached_at: Micros) -> Eviction;

    /// Evicts all rows of an account.
    fn evict_account(&mut self, account: AccountId);

    /// Takes the operations that follow from the plans committed since the last time.
    fn take_follow_ups(&mut self) -> Vec<FollowUp>;
}
