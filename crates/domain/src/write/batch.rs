//! Batched calls: planned from cached rows, stored in one statement, answered together.

use std::sync::Arc;

use parley_storage::{entity::account_log, load};
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait};

use super::{
    account_cache::AccountState,
    call::Call,
    idempotency, meter,
    plan::{Plan, PlanInput, PlannedCall},
    planner::{BatchCall, FollowUp},
    shard::WriterShard,
    store::BatchStore,
};
use crate::auth::caller::Caller;

impl<B: BatchStore> WriterShard<B> {
    /// Stores the calls and responds to each of them, and then runs the follow-up operations.
    pub(super) async fn write_calls(&mut self, calls: Vec<BatchCall<B>>) {
        let mut remaining = calls;
        while !remaining.is_empty() {
            remaining = self.run_round(remaining).await;
        }
        self.run_follow_ups().await;
    }

    /// Runs one round, and returns the calls that must run in a later round.
    async fn run_round(&mut self, calls: Vec<BatchCall<B>>) -> Vec<BatchCall<B>> {
        let mut groups: Vec<(AccountId, Vec<BatchCall<B>>)> = Vec::new();
        for call in calls {
            match groups.iter_mut().find(|(account, _)| *account == call.call.account) {
                Some((_, group)) => group.push(call),
                None => groups.push((call.call.account, vec![call])),
            }
        }
        // Sort by account, the order in which the statement locks the counters, so that two replicas cannot deadlock.
        groups.sort_unstable_by_key(|(account, _)| *account);
        let mut deferred = Vec::new();
        let mut plans = Vec::new();
        for (account, group) in groups {
            let needs_lock = group.iter().any(|call| B::needs_lock(&call.items));
            if needs_lock || self.accounts.get_mut(account).is_some_and(|state| state.contended) {
                deferred.extend(self.write_locked(account, group).await);
                continue;
            }
            let db = self.db.clone();
            match db.in_time(Box::pin(self.load_unlocked(account, &group))).await {
                Ok(input) => plans.push(self.plan_unlocked(input, group, &mut deferred).await),
                Err(error) => refuse(group, &error),
            }
        }
        self.store_plans(plans, &mut deferred).await;
        deferred
    }

    async fn plan_unlocked(
        &mut self,
        input: PlanInput<B>,
        group: Vec<BatchCall<B>>,
        deferred: &mut Vec<BatchCall<B>>,
    ) -> (Plan<B>, AccountState) {
        #[cfg(feature = "faults")]
        let input = self.without_lock(input, &group).await;
        let (mut plan, state) = self.plan_rendered(input, group).await;
        deferred.append(&mut plan.deferred);
        (plan, state)
    }

    /// Plans calls, and has the automatic messages that they cause rendered on a compute pool. These messages follow from the rules alone,
    /// so a first plan determines their templates. The first plan is discarded if any template has to be rendered. Batches without
    /// templates are planned only once.
    async fn plan_rendered(&self, mut input: PlanInput<B>, group: Vec<BatchCall<B>>) -> (Plan<B>, AccountState) {
        let batch_bytes = self.config.batch_bytes;
        if !B::may_need_texts(&input.context, &group) {
            return Plan::make(&self.planner, batch_bytes, input, group).await;
        }
        let (mut plan, state) = Plan::make(&self.planner, batch_bytes, input.clone(), group).await;
        let missing = std::mem::take(&mut plan.missing_texts);
        if missing.is_empty() {
            return (plan, state);
        }
        let deferred = std::mem::take(&mut plan.deferred);
        input.texts = Arc::new(B::render(missing).await);
        let calls = plan.into_calls().into_iter().chain(deferred).collect();
        Plan::make(&self.planner, batch_bytes, input, calls).await
    }

    /// For tests: allocates sequence numbers as a database sequence would, immediately rather than at the commit. Allocates many more than
    /// the calls need, so that the gaps left by failed calls become visible to the test.
    #[cfg(feature = "faults")]
    async fn without_lock(&mut self, mut input: PlanInput<B>, group: &[BatchCall<B>]) -> PlanInput<B> {
        if self.config.unlocked() {
            let count: usize = group.iter().map(|call| B::size(&call.items).items).sum::<usize>() * 4;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let counters = self.store.take_without_lock(input.state.account.id, count).await;
            input.state.counters = counters.unwrap_or(input.state.counters);
        }
        input
    }

    /// Stores the plans of several accounts in one statement. Each plan is stored only if no other replica has written to its account since
    /// the plan was made.
    async fn store_plans(&mut self, plans: Vec<(Plan<B>, AccountState)>, deferred: &mut Vec<BatchCall<B>>) {
        let (full, empty): (Vec<_>, Vec<_>) = plans.into_iter().partition(|(plan, _)| !plan.is_empty());
        for (plan, _) in empty {
            answer(plan.planned);
        }
        if full.is_empty() {
            return;
        }
        meter::batch(full.iter().map(|(plan, _)| B::item_count(&plan.rows)).sum());
        let stored = self.store.store_if_unchanged(full.iter().map(|(plan, _)| plan)).await;
        for (plan, state) in full {
            let account = state.account.id;
            match &stored {
                Ok(stored) if stored.contains(&account) => self.apply_commit(plan, state),
                // Another replica wrote in between: plan again, under the row lock.
                Ok(_) => {
                    deferred.extend(self.write_locked(account, plan.into_calls()).await);
                }
                // If the connection broke, it is unknown whether the batch was stored, so it is not retried here.
                Err(error @ Error::Unavailable { .. }) => {
                    self.evict_account(account);
                    refuse(plan.into_calls(), error);
                }
                // A constraint was violated. Store the calls one by one, so that only the invalid one fails.
                Err(error) => {
                    self.evict_account(account);
                    let calls = plan.into_calls();
                    tracing::debug!(%account, calls = calls.len(), %error, "the database rejected a batch; storing its calls one by one");
                    for call in calls {
                        deferred.extend(self.write_locked(account, vec![call]).await);
                    }
                }
            }
        }
    }

    /// Stores the calls of one account under the row lock of its counters, and one by one if storing them together fails.
    async fn write_locked(&mut self, account: AccountId, group: Vec<BatchCall<B>>) -> Vec<BatchCall<B>> {
        let mut deferred = Vec::new();
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            match self.try_locked(account, group, &mut deferred).await {
                Ok(()) => {}
                Err((group, error)) if group.len() == 1 || matches!(error, Error::Unavailable { .. } | Error::NotFound { .. }) => {
                    refuse(group, &B::constraint_error(error));
                }
                Err((group, _)) => groups.extend(group.into_iter().rev().map(|call| vec![call])),
            }
        }
        deferred
    }

    async fn try_locked(
        &mut self,
        account: AccountId,
        group: Vec<BatchCall<B>>,
        deferred: &mut Vec<BatchCall<B>>,
    ) -> Result<(), (Vec<BatchCall<B>>, Error)> {
        let counters = match self.store.lock(account).await {
            Ok(counters) => counters,
            Err(error) => return Err((group, error)),
        };
        // We hold the row lock, so reads outside the transaction are consistent. Use the read pool: every write connection might be waiting
        // for this lock or another, and acquiring one more would deadlock.
        let db = self.db.clone();
        let loaded = async {
            let state = self.catch_up(db.read(), account, counters).await?;
            self.load(db.read(), state, &group).await
        };
        let input = match db.in_time(Box::pin(loaded)).await {
            Ok(input) => input,
            Err(error) => {
                self.evict_account(account);
                self.store.release().await;
                return Err((group, error));
            }
        };
        let (mut plan, state) = self.plan_rendered(input, group).await;
        deferred.append(&mut plan.deferred);
        if plan.is_empty() {
            self.store.release().await;
        } else if let Err(error) = self.store.commit(&plan).await {
            self.evict_account(account);
            return Err((plan.into_calls(), error));
        }
        self.apply_commit(plan, state);
        Ok(())
    }

    /// Caches the stored rows, publishes the events and responds to the calls.
    fn apply_commit(&mut self, plan: Plan<B>, state: AccountState) {
        let Plan {
            rows, entries, planned, ..
        } = plan;
        let (account, epoch) = (state.account.id, state.counters.epoch);
        self.cache_account(state);
        self.planner.apply_commit(account, rows);
        self.events.broadcaster.committed(account, epoch, entries);
        answer(planned);
    }

    /// Runs the operations that follow from the stored batches, after the callers have received their responses.
    async fn run_follow_ups(&mut self) {
        for follow_up in self.planner.take_follow_ups() {
            let FollowUp {
                account,
                operation,
                failure,
            } = follow_up;
            let call = Call {
                caller: Arc::new(Caller::parley()),
                account,
                key: None,
                traceparent: String::new(),
            };
            if let Err(error) = self.run_operation(call, operation).await {
                tracing::warn!(%account, %error, failure, "failed to run a follow-up operation of a committed batch; not retrying");
            }
        }
    }

    /// Loads the data that the calls need, from the caches if possible, otherwise from the database.
    async fn load_unlocked(&mut self, account: AccountId, calls: &[BatchCall<B>]) -> Result<PlanInput<B>> {
        let db = self.db.clone();
        let db = db.write();
        let cached = self.accounts.get_mut(account).map(|state| state.clone());
        let state = if let Some(state) = cached {
            state
        } else {
            let row = account_log::Entity::find_by_id(account).one(db).await?;
            let counters = row.ok_or_else(|| Error::not_found("account", account))?;
            let state = AccountState {
                account: load::account(db, account).await?,
                counters,
                contended: false,
            };
            self.cache_account(state.clone());
            state
        };
        self.load(db, state, calls).await
    }

    /// Loads the rows that the calls need from the cache, and the rest by a fixed number of statements, most of which run only if a call
    /// needs them.
    async fn load(&mut self, db: &impl ConnectionTrait, state: AccountState, calls: &[BatchCall<B>]) -> Result<PlanInput<B>> {
        let account = state.account.id;
        let mut context = self.planner.load_rows(db, &state.account, calls).await?;
        let keys = calls.iter().filter_map(|call| call.call.key.as_ref());
        let stored = if db.get_database_backend() == DbBackend::Postgres {
            idempotency::load(db, account, keys).await?
        } else {
            idempotency::load_on_sqlite(&self.db, account, keys).await?
        };
        self.planner.load_references(db, &mut context, account, calls, &stored).await?;
        Ok(PlanInput {
            state,
            stored,
            texts: Arc::default(),
            context,
        })
    }
}

/// Sends each call its response. If a caller is no longer waiting, its response is dropped, but the stored changes remain.
fn answer<B: BatchStore>(planned: Vec<PlannedCall<B>>) {
    for planned in planned {
        let _ = planned.call.reply.send(planned.answer);
    }
}

fn refuse<B: BatchStore>(calls: Vec<BatchCall<B>>, error: &Error) {
    for call in calls {
        let _ = call.reply.send(Err(error.clone()));
    }
}
