//! Batches of new messages: planned from what is at hand, stored in one statement, answered together.

use crate::write::lookup::replied;
use crate::write::lookup::source_ids;
use std::{collections::HashMap, sync::Arc};

use super::{
    cache::{AccountState, CachedConversation},
    config::Messages,
    idempotency, meter,
    plan::{BatchContext, Plan, reply_id},
    shard::WriterShard,
};
use crate::files::rows;
use crate::{auth::caller::Caller, conversations::assignment, files::claims::Available, messages::liquid, write::call::Call};
use parley_storage::{entity::account_log, load};
use parley_types::{
    error::{Error, Result, Rule, is_unique_violation},
    id::{AccountId, ConversationId},
};
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait};

impl WriterShard {
    /// Stores the messages of these calls and answers each.
    pub(super) async fn messages(&mut self, calls: Vec<Messages>) {
        let mut waiting = calls;
        while !waiting.is_empty() {
            waiting = self.round(waiting).await;
        }
        self.auto_assign().await;
    }

    /// One round; what is returned must come after what was stored in it.
    async fn round(&mut self, calls: Vec<Messages>) -> Vec<Messages> {
        let mut groups: Vec<(AccountId, Vec<Messages>)> = Vec::new();
        for call in calls {
            match groups.iter_mut().find(|(account, _)| *account == call.call.account) {
                Some((_, group)) => group.push(call),
                None => groups.push((call.call.account, vec![call])),
            }
        }
        groups.sort_unstable_by_key(|(account, _)| *account);
        let mut later = Vec::new();
        let mut plans = Vec::new();
        for (account, group) in groups {
            // An upload is taken only where nobody else can take it.
            let taking = group.iter().flat_map(|call| &call.items).any(|(_, new)| !new.hanging.is_empty());
            if taking || self.cache.account(account).is_some_and(|counted| counted.contended) {
                later.extend(self.locked(account, group).await);
                continue;
            }
            let db = self.db.clone();
            match db.in_time(Box::pin(self.scene(account, &group))).await {
                Ok(scene) => plans.push(self.plan(scene, group, &mut later).await),
                Err(error) => refuse(group, &error),
            }
        }
        self.store(plans, &mut later).await;
        later
    }

    async fn plan(&mut self, scene: BatchContext, group: Vec<Messages>, later: &mut Vec<Messages>) -> (Plan, AccountState) {
        #[cfg(feature = "faults")]
        let scene = self.without_lock(scene, &group).await;
        let (mut plan, counted) = self.rendered_plan(scene, group).await;
        later.append(&mut plan.later);
        (plan, counted)
    }

    /// Plans calls, after the automatic texts that they lead to were rendered on a compute pool. A first plan, which is dropped, finds those:
    /// which there are follows from the rules alone. Batches without templates are planned once.
    async fn rendered_plan(&self, mut scene: BatchContext, group: Vec<Messages>) -> (Plan, AccountState) {
        if !scene.has_templates(&group) {
            return Plan::make(&self.config, scene, group).await;
        }
        let (mut plan, counted) = Plan::make(&self.config, scene.clone(), group).await;
        let missing = std::mem::take(&mut plan.missing);
        if missing.is_empty() {
            return (plan, counted);
        }
        let later = std::mem::take(&mut plan.later);
        scene.texts = Arc::new(liquid::render_automatic(missing).await);
        Plan::make(&self.config, scene, calls(plan).into_iter().chain(later).collect()).await
    }

    /// Takes seqs as a database sequence would: at once, and not with the commit. Many more than are needed, so that the
    /// holes of calls that fail show as well.
    #[cfg(feature = "faults")]
    async fn without_lock(&mut self, mut scene: BatchContext, group: &[Messages]) -> BatchContext {
        if self.config.unlocked() {
            let count: usize = group.iter().map(|call| call.items.len()).sum::<usize>() * 4;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let counters = self.store.take_without_lock(scene.counted.account.id, count).await;
            scene.counted.counters = counters.unwrap_or(scene.counted.counters);
        }
        scene
    }

    /// Stores plans of several accounts at once, on condition that nobody else wrote to them.
    async fn store(&mut self, plans: Vec<(Plan, AccountState)>, later: &mut Vec<Messages>) {
        let (full, empty): (Vec<_>, Vec<_>) = plans.into_iter().partition(|(plan, _)| !plan.is_empty());
        for (plan, _) in empty {
            answer(plan);
        }
        if full.is_empty() {
            return;
        }
        meter::batch(full.iter().map(|(plan, _)| plan.messages.len()).sum());
        let stored = self.store.store_if_unchanged(full.iter().map(|(plan, _)| plan)).await;
        for (plan, counted) in full {
            let account = counted.account.id;
            match &stored {
                Ok(stored) if stored.contains(&account) => self.apply_commit(plan, counted),
                // Another replica wrote in between: look again, under the lock.
                Ok(_) => {
                    later.extend(self.locked(account, calls(plan)).await);
                }
                // Which call broke it is found by trying each; what the connection broke is not tried again here.
                Err(error @ Error::Unavailable { .. }) => {
                    self.cache.forget(account);
                    refuse(calls(plan), error);
                }
                Err(error) => {
                    self.cache.forget(account);
                    let calls = calls(plan);
                    tracing::debug!(%account, calls = calls.len(), %error, "a batch was refused; storing call by call");
                    for call in calls {
                        later.extend(self.locked(account, vec![call]).await);
                    }
                }
            }
        }
    }

    /// Stores the calls of one account under the lock of its counters; call by call if together they fail.
    async fn locked(&mut self, account: AccountId, group: Vec<Messages>) -> Vec<Messages> {
        let mut later = Vec::new();
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            match self.under_lock(account, group, &mut later).await {
                Ok(()) => {}
                Err((group, error)) if group.len() == 1 || matches!(error, Error::Unavailable { .. } | Error::NotFound { .. }) => {
                    refuse(group, &taken(error));
                }
                Err((group, _)) => groups.extend(group.into_iter().rev().map(|call| vec![call])),
            }
        }
        later
    }

    async fn under_lock(
        &mut self,
        account: AccountId,
        group: Vec<Messages>,
        later: &mut Vec<Messages>,
    ) -> Result<(), (Vec<Messages>, Error)> {
        let counters = match self.store.lock(account).await {
            Ok(counters) => counters,
            Err(error) => return Err((group, error)),
        };
        // Who holds the lock may read beside it: nobody else writes to the account meanwhile. By a connection that reads: those
        // that write may all be waiting for this lock or another, and then none would come back.
        let db = self.db.clone();
        let looked = async {
            let counted = self.catch_up(db.read(), account, counters).await?;
            self.look(db.read(), counted, &group).await
        };
        let scene = match db.in_time(Box::pin(looked)).await {
            Ok(scene) => scene,
            Err(error) => {
                self.cache.forget(account);
                self.store.release().await;
                return Err((group, error));
            }
        };
        let (mut plan, counted) = self.rendered_plan(scene, group).await;
        later.append(&mut plan.later);
        if plan.is_empty() {
            self.store.release().await;
        } else if let Err(error) = self.store.commit(&plan).await {
            self.cache.forget(account);
            return Err((calls(plan), error));
        }
        self.apply_commit(plan, counted);
        Ok(())
    }

    /// What is stored is kept at hand, told to the hub, and answered.
    fn apply_commit(&mut self, mut plan: Plan, counted: AccountState) {
        let (account, epoch) = (counted.account.id, counted.counters.epoch);
        self.cache.put_account(counted);
        let conversations = std::mem::take(&mut plan.conversations);
        for known in Plan::into_cached(conversations, &plan.contacts) {
            self.cache.put_conversation(known);
        }
        self.events.hub.committed(account, epoch, std::mem::take(&mut plan.entries));
        self.opened.extend(plan.opened.drain(..).map(|id| (account, id)));
        answer(plan);
    }

    /// Looks for agents for the conversations that the batch opened, after its callers have their answers.
    async fn auto_assign(&mut self) {
        let mut opened = std::mem::take(&mut self.opened);
        opened.sort_unstable();
        opened.dedup();
        for group in opened.chunk_by(|one, next| one.0 == next.0) {
            let ids = group.iter().map(|(_, id)| *id).collect();
            let call = Call {
                caller: Arc::new(Caller::parley()),
                account: group[0].0,
                key: None,
                traceparent: String::new(),
            };
            let done = self.verb(call, |write| Box::pin(assignment::assign_opened(write, ids))).await;
            if let Err(error) = done {
                tracing::warn!(account = %group[0].0, %error, "conversations that were opened stay without an agent");
            }
        }
    }

    /// What the calls need, from what is at hand and, for the rest, from the database.
    async fn scene(&mut self, account: AccountId, calls: &[Messages]) -> Result<BatchContext> {
        let db = self.db.clone();
        let db = db.write();
        let known = self.cache.account(account).map(|counted| counted.clone());
        let counted = if let Some(counted) = known {
            counted
        } else {
            let row = account_log::Entity::find_by_id(account).one(db).await?;
            let counters = row.ok_or_else(|| Error::not_found("account", account))?;
            let counted = AccountState {
                account: load::account(db, account).await?,
                counters,
                contended: false,
            };
            self.cache.put_account(counted.clone());
            counted
        };
        self.look(db, counted, calls).await
    }

    /// Takes what is at hand and reads the rest: a fixed number of statements, most of them only if a call needs them.
    async fn look(&mut self, db: &impl ConnectionTrait, counted: AccountState, calls: &[Messages]) -> Result<BatchContext> {
        let account = counted.account.id;
        let items = || calls.iter().flat_map(|call| &call.items);
        let ids = items().map(|(id, _)| *id);
        let mut known: HashMap<ConversationId, CachedConversation> =
            ids.filter_map(|id| Some((id, self.cache.conversation(account, id)?))).collect();
        let mut missing: Vec<ConversationId> = items().map(|(id, _)| *id).filter(|id| !known.contains_key(id)).collect();
        missing.sort_unstable();
        missing.dedup();
        let conversations = load::conversations(db, &counted.account, &missing).await?;
        for (conversation, flood) in self.floods(db, conversations).await? {
            known.insert(conversation.row.id, CachedConversation { conversation, flood });
        }
        let asked = calls.iter().filter_map(|call| call.call.key.as_ref());
        let kept = if db.get_database_backend() == DbBackend::Postgres {
            idempotency::kept(db, account, asked).await?
        } else {
            idempotency::kept_on_sqlite(&self.db, account, asked).await?
        };
        let named = items()
            .filter_map(|(_, new)| reply_id(new.content_attributes.get("in_reply_to")?))
            .map(|id| id.0);
        let replied = replied(db, account, named.collect()).await?;
        let uniques = items()
            .filter(|(_, new)| new.unique_source_id)
            .filter_map(|(_, new)| new.source_id.clone());
        let taken = source_ids(db, account, uniques.collect()).await?;
        let named = items().flat_map(|(_, new)| new.uploads());
        let uploads = rows::uploads(db, account, named.collect()).await?;
        let fresh = calls.iter().filter(|call| {
            let key = call.call.key.as_ref();
            key.is_none_or(|key| idempotency::find(key, &kept).is_none())
        });
        let rows = fresh.flat_map(|call| &call.items).map(|(_, new)| new.new_rows()).sum();
        let ids = if db.get_database_backend() == DbBackend::Postgres {
            rows::reserve(db, rows).await?
        } else {
            rows::reserve(self.db.write(), rows).await?
        };
        Ok(BatchContext {
            counted,
            known,
            kept,
            replied,
            taken,
            available: Available { uploads, ids },
            texts: Arc::default(),
        })
    }
}

/// Gives each call its answer; a caller who has gone does not get it.
fn answer(plan: Plan) {
    for planned in plan.planned {
        let _ = planned.call.reply.send(planned.answer);
    }
}

fn refuse(calls: Vec<Messages>, error: &Error) {
    for call in calls {
        let _ = call.reply.send(Err(error.clone()));
    }
}

fn calls(plan: Plan) -> Vec<Messages> {
    plan.planned.into_iter().map(|planned| planned.call).collect()
}

/// The unique index is the last word on source ids.
fn taken(error: Error) -> Error {
    match &error {
        Error::Database(source) if is_unique_violation(source.as_ref()) => Error::invalid(
            "message.source_id",
            Rule::Taken,
            "is the source_id of another message in this inbox",
        ),
        _ => error,
    }
}
