//! A plan: everything that a batch of calls stores in one account. Planning has no side effects; afterwards the plan is stored or
//! discarded.

use std::{
    collections::HashSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parley_eventlog::event_record::EventRecord;
use parley_storage::entity::{account_log, idempotency_key};
use parley_types::error::Result;

use super::{
    account_cache::AccountState,
    call::Answer,
    caught_panic::panicked,
    idempotency::{self, NewResponse, StoredResponses},
    planner::{BatchCall, BatchPlanner},
    texts::{RenderedTexts, TextRequest},
    write_set::WriteSet,
};

/// The number of bytes of encoded events after which planning yields to other tasks on the runtime thread. Encoding this many bytes takes
/// less than ten milliseconds.
const SLICE_BYTES: usize = 512 * 1024;

/// The input for planning a batch of calls to one account.
pub struct PlanInput<B: BatchPlanner> {
    /// The account and its counters.
    pub state: AccountState,
    /// The responses that are stored under the calls' request ids, for any owner.
    pub stored: StoredResponses,
    /// The templates that were rendered for the calls.
    pub texts: Arc<RenderedTexts>,
    /// The rows that the planner reads.
    pub context: B::Context,
}

impl<B: BatchPlanner> fmt::Debug for PlanInput<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanInput").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<B: BatchPlanner> Clone for PlanInput<B> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            stored: self.stored.clone(),
            texts: Arc::clone(&self.texts),
            context: self.context.clone(),
        }
    }
}

/// A call with its result, which is sent once the plan is stored.
pub struct PlannedCall<B: BatchPlanner> {
    /// The call.
    pub call: BatchCall<B>,
    /// The result to send.
    pub answer: Result<Answer<B::Output>>,
}

impl<B: BatchPlanner> fmt::Debug for PlannedCall<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedCall").field("call", &self.call).finish_non_exhaustive()
    }
}

/// The rows and events to store, and the results to send afterwards.
pub struct Plan<B: BatchPlanner> {
    /// The counters that the plan is based on. The plan is stored only if they have not moved.
    pub expected: account_log::Model,
    /// The counters as they will be after the plan has been stored.
    pub counters: account_log::Model,
    /// The rows to store for the calls' items, such as messages.
    pub rows: B::Rows,
    /// The events to append to the log.
    pub entries: Vec<EventRecord>,
    /// The responses to store for calls with an idempotency key.
    pub responses: Vec<idempotency_key::Model>,
    /// The calls with their results.
    pub planned: Vec<PlannedCall<B>>,
    /// Calls for the next round: those beyond the byte limit, and those with the same request id as another call of the batch.
    pub deferred: Vec<BatchCall<B>>,
    /// The templates that the calls use and that are not rendered yet.
    pub missing_texts: Vec<TextRequest>,
}

impl<B: BatchPlanner> fmt::Debug for Plan<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("expected", &self.expected)
            .field("counters", &self.counters)
            .field("planned", &self.planned)
            .finish_non_exhaustive()
    }
}

impl<B: BatchPlanner> Plan<B> {
    /// Plans calls in their order, until their events reach `batch_bytes`. Yields to the runtime between calls with large events: events
    /// repeat the attributes of their conversation and contact, so the events of a full batch can have far more bytes than its messages.
    pub async fn make(planner: &B, batch_bytes: usize, mut input: PlanInput<B>, calls: Vec<BatchCall<B>>) -> (Self, AccountState) {
        let mut plan = Self {
            expected: input.state.counters.clone(),
            counters: input.state.counters.clone(),
            rows: B::Rows::default(),
            entries: Vec::new(),
            responses: Vec::new(),
            planned: Vec::new(),
            deferred: Vec::new(),
            missing_texts: Vec::new(),
        };
        let mut seen = HashSet::new();
        let mut slice = 0;
        let mut bytes = 0;
        for call in calls {
            if bytes >= batch_bytes {
                plan.deferred.push(call);
                continue;
            }
            if slice >= SLICE_BYTES {
                slice = 0;
                tokio::task::yield_now().await;
            }
            if call.call.key.as_ref().is_some_and(|key| !seen.insert(key.request_id)) {
                plan.deferred.push(call);
                continue;
            }
            // A panic fails only this call: the plan does not change before the call's write set is closed, and nothing can panic after
            // that.
            let entries = plan.entries.len();
            let answer = catch_unwind(AssertUnwindSafe(|| plan.call(planner, &mut input, &call)));
            let answer = answer.unwrap_or_else(|panic| Err(panicked(&*panic)));
            let made: usize = plan.entries[entries..].iter().map(|entry| entry.payload.len()).sum();
            slice += made;
            bytes += made;
            plan.planned.push(PlannedCall { call, answer });
        }
        plan.counters = input.state.counters.clone();
        (plan, input.state)
    }

    fn call(&mut self, planner: &B, input: &mut PlanInput<B>, batched: &BatchCall<B>) -> Result<Answer<B::Output>> {
        let call = &batched.call;
        if let Some(key) = &call.key
            && let Some(stored) = idempotency::find(key, &input.stored)
        {
            return idempotency::replay(key, stored);
        }
        let access = call.caller.write_access(call.account)?;
        parley_fault::panic_if_requested("plan");
        let state = &input.state;
        let mut set = WriteSet::open(Arc::clone(&state.account), state.counters.clone(), &call.caller, &call.traceparent);
        set.set_rendered_texts(Arc::clone(&input.texts));
        let result = planner.plan_call(&mut input.context, &self.rows, &mut set, batched, access);
        self.missing_texts.append(&mut set.take_missing_texts());
        let (output, changes) = result?;
        let (cursor, at) = (set.cursor(), set.at);
        let completed = set.close();
        if let Some(key) = &call.key {
            let contact = idempotency::contact(&output, &completed.entries);
            let response = NewResponse::new(&output, Some(cursor), at, contact);
            self.responses.push(idempotency::row(call.account, key, &input.stored, &response));
        }
        input.state.counters = completed.counters;
        self.entries.extend(completed.entries);
        B::merge(&mut input.context, &mut self.rows, changes, completed.rows);
        Ok(Answer::Fresh(output, Some(cursor)))
    }

    /// Returns whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the planned calls without their results, so that they can be planned again or answered with an error.
    pub fn into_calls(self) -> Vec<BatchCall<B>> {
        self.planned.into_iter().map(|planned| planned.call).collect()
    }
}
