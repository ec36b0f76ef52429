//! The interface through which a kind of batched write, such as new messages, provides its rules and its cache to the writer.
//!
//! The writer is responsible for everything that does not depend on the kind of write: queues, limits, account counters, locks, idempotency
//! and responses. A planner never acquires a lock and never decides which calls are retried.

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

/// A call that is stored in a batch with others: either all of its items are stored, or none.
pub struct BatchCall<B: BatchPlanner> {
    /// The caller, the account, and the idempotency key.
    pub call: Call<B::Output>,
    /// The items to store.
    pub items: B::Items,
    pub(super) reply: oneshot::Sender<Result<Answer<B::Output>>>,
}

impl<B: BatchPlanner> fmt::Debug for BatchCall<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchCall").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<B: BatchPlanner> BatchCall<B> {
    /// Returns whether the call has to be executed. It does not if a response to it is already stored.
    pub fn is_new(&self, stored: &StoredResponses) -> bool {
        let key = self.call.key.as_ref();
        key.is_none_or(|key| idempotency::find(key, stored).is_none())
    }
}

/// How much a call adds to the size of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchSize {
    /// The number of items in the call.
    pub items: usize,
    /// The size of the content of the call's items, in bytes.
    pub bytes: usize,
}

/// The extent to which a planner has evicted an account's rows from its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Only the changed rows were evicted; the rest of the cache is current.
    Rows,
    /// The number of rows that the change can affect is unbounded, so the writer must evict the whole account.
    Account,
}

/// An operation that becomes necessary once batches are stored, such as the assignment of agents. The writer runs it in its own
/// transaction, after the calls of the batches have received their responses.
pub struct FollowUp {
    /// The account to which the operation writes.
    pub account: AccountId,
    /// The operation to run.
    pub operation: FollowUpOperation,
    /// The log message if the operation fails. A failed operation is not retried.
    pub failure: &'static str,
}

impl fmt::Debug for FollowUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowUp").field("account", &self.account).finish_non_exhaustive()
    }
}

/// The type of [`FollowUp::operation`], which runs in a transaction provided by the writer.
pub type FollowUpOperation = Box<dyn for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<()>> + Send>;

/// The conversation and the contact that an event in the log names.
pub type ChangedRows = (Option<ConversationId>, Option<ContactId>);

/// The rules for one kind of batched write. Each writer shard has its own planner with its own cache.
///
/// All methods that are not async are pure computations, because they run on a runtime thread between two statements.
pub trait BatchPlanner: Sized + Send + Sync + 'static {
    /// The settings of the planner.
    type Config: Clone + Send + Sync + 'static;
    /// The items that a single call writes.
    type Items: Send + Sync + 'static;
    /// The result of a single call.
    type Output: ResponseSubject + Send + Sync + 'static;
    /// The rows that are read before a batch is planned, from the cache or the database.
    type Context: Clone + Send + Sync;
    /// The changes of one planned call, until they are merged into the plan.
    type Changes;
    /// The rows that a plan stores.
    type Rows: Default + Send + Sync;

    /// Creates a planner with an empty cache. The capacity of the cache is divided among `shards` planners.
    fn new(config: &Self::Config, db: &Database, shards: usize) -> Self;

    /// Returns how much a call adds to the size of a batch.
    fn size(items: &Self::Items) -> BatchSize;

    /// Returns whether a call can be planned only under the row lock of the account's counters.
    fn needs_lock(items: &Self::Items) -> bool;

    /// Loads the rows that the calls change, from the cache if possible, otherwise by a fixed number of statements, regardless of the
    /// number of calls.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Unavailable`] if a query fails.
    fn load_rows<C: ConnectionTrait>(
        &mut self,
        db: &C,
        account: &Arc<account::Model>,
        calls: &[BatchCall<Self>],
    ) -> impl Future<Output = Result<Self::Context>> + Send;

    /// Reads the other rows that the calls refer to. Runs after [`BatchPlanner::load_rows`], once it is known which calls are new.
    ///
    /// # Errors
    /// Same as [`BatchPlanner::load_rows`].
    fn load_references<C: ConnectionTrait>(
        &mut self,
        db: &C,
        context: &mut Self::Context,
        account: AccountId,
        calls: &[BatchCall<Self>],
        stored: &StoredResponses,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Returns whether planning the calls might require rendered templates. If it does, the batch is planned again after they have been
    /// rendered.
    fn may_need_texts(context: &Self::Context, calls: &[BatchCall<Self>]) -> bool;

    /// Renders templates on a compute pool, within a bounded time. Templates that are missing from the result are stored unrendered.
    fn render(requests: Vec<TextRequest>) -> impl Future<Output = RenderedTexts> + Send;

    /// Plans one call: applies the rules to the rows in `context`, or to those in `planned` if an earlier call of the batch changed them.
    ///
    /// A call that fails or panics must leave nothing changed, except that it may have taken reserved ids and uploads out of `context`.
    ///
    /// # Errors
    /// The errors of the rules, which become the result of the call.
    fn plan_call(
        &self,
        context: &mut Self::Context,
        planned: &Self::Rows,
        set: &mut WriteSet,
        call: &BatchCall<Self>,
        access: &Access,
    ) -> Result<(Self::Output, Self::Changes)>;

    /// Adds the changes and new rows of a planned call to the plan. Must not panic, because the call's events are already part of the plan.
    fn merge(context: &mut Self::Context, planned: &mut Self::Rows, changes: Self::Changes, new: NewRows);

    /// Returns the number of items that a plan stores.
    fn item_count(planned: &Self::Rows) -> usize;

    /// Maps the error of a call that violated a constraint of the database.
    fn constraint_error(error: Error) -> Error;

    /// Caches the rows of a committed plan.
    fn apply_commit(&mut self, account: AccountId, stored: Self::Rows);

    /// Evicts the rows that this shard changed, according to the events of its write.
    fn evict_changed(&mut self, account: AccountId, drafts: &[PendingEvent]) -> Eviction;

    /// Evicts the rows that another replica changed, according to its events in the log. An event with neither a conversation nor a contact
    /// can represent a change to an unbounded number of rows. `cached_at` is the time of the last write that the cache reflects.
    fn evict_logged(&mut self, account: AccountId, changes: &[ChangedRows], cached_at: Micros) -> Eviction;

    /// Evicts all rows of an account.
    fn evict_account(&mut self, account: AccountId);

    /// Takes the operations that follow from the plans that were committed since the last call.
    fn take_follow_ups(&mut self) -> Vec<FollowUp>;
}
