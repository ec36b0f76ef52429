//! Implements [`BatchPlanner`] for messages, so that the writer can store them in batches.

use std::sync::Arc;

use parley_eventlog::pending_event::PendingEvent;
use parley_storage::{Database, entity::account};
use parley_types::{
    error::{Error, Result, Rule, is_unique_violation},
    id::{AccountId, ConversationId},
    time::Micros,
};
use sea_orm::ConnectionTrait;

use super::{
    auto_assign,
    batches::{Config, MessageBatches},
    cache::ConversationCache,
    context::{BatchContext, CallChanges, MessageRows, NewMessages},
    plan,
};
use crate::{
    auth::caller::Access,
    messages::{liquid, new_message::NewMessage, rules},
    write::{
        NewRows, WriteSet,
        idempotency::StoredResponses,
        planner::{BatchCall, BatchPlanner, BatchSize, ChangedRows, Eviction, FollowUp},
        texts::{RenderedTexts, TextRequest},
    },
};

impl BatchPlanner for MessageBatches {
    type Config = Config;
    type Items = Vec<(ConversationId, NewMessage)>;
    type Output = NewMessages;
    type Context = BatchContext;
    type Changes = CallChanges;
    type Rows = MessageRows;

    fn new(config: &Config, db: &Database, shards: usize) -> Self {
        Self {
            config: config.clone(),
            db: db.clone(),
            cache: ConversationCache::new(config.cached_conversations / shards.max(1)),
            opened: Vec::new(),
        }
    }

    fn size(items: &Self::Items) -> BatchSize {
        BatchSize {
            items: items.len(),
            bytes: items.iter().map(|(_, new)| new.content.as_ref().map_or(0, String::len)).sum(),
        }
    }

    /// Uploads are claimed only under the row lock, so that no concurrent write can claim the same one.
    fn needs_lock(items: &Self::Items) -> bool {
        items.iter().any(|(_, new)| !new.pending_attachments.is_empty())
    }

    async fn load_rows<C: ConnectionTrait>(
        &mut self,
        db: &C,
        account: &Arc<account::Model>,
        calls: &[BatchCall<Self>],
    ) -> Result<BatchContext> {
        self.load_conversations(db, account, calls).await
    }

    async fn load_references<C: ConnectionTrait>(
        &mut self,
        db: &C,
        context: &mut BatchContext,
        account: AccountId,
        calls: &[BatchCall<Self>],
        stored: &StoredResponses,
    ) -> Result<()> {
        Self::load_references(self, db, context, account, calls, stored).await
    }

    fn may_need_texts(context: &BatchContext, calls: &[BatchCall<Self>]) -> bool {
        let mut items = calls.iter().flat_map(|call| &call.items);
        items.any(|(id, new)| {
            let cached = context.conversations.get(id);
            cached.is_some_and(|cached| rules::needs_rendering(&cached.conversation, new))
        })
    }

    async fn render(requests: Vec<TextRequest>) -> RenderedTexts {
        liquid::render_automatic(requests).await
    }

    fn plan_call(
        &self,
        context: &mut BatchContext,
        planned: &MessageRows,
        set: &mut WriteSet,
        call: &BatchCall<Self>,
        access: &Access,
    ) -> Result<(NewMessages, CallChanges)> {
        plan::plan_call(self.config.messages_per_minute, context, planned, set, call, access)
    }

    fn merge(context: &mut BatchContext, planned: &mut MessageRows, changes: CallChanges, new: NewRows) {
        context.taken_source_ids.extend(changes.source_ids);
        planned.opened.extend(changes.opened);
        planned.messages.extend(new.messages);
        planned.claims.extend(new.claims);
        planned.attachments.extend(new.attachments);
        planned.conversations.extend(changes.conversations);
        planned.contacts.extend(changes.contacts);
    }

    fn item_count(planned: &MessageRows) -> usize {
        planned.messages.len()
    }

    /// Planning already checks unique source ids, but another write could store the same id before the batch is stored, in
    /// which case the unique index rejects the message of the batch.
    fn constraint_error(error: Error) -> Error {
        match &error {
            Error::Database(source) if is_unique_violation(source.as_ref()) => Error::invalid(
                "message.source_id",
                Rule::Taken,
                "is the source_id of another message in this inbox",
            ),
            _ => error,
        }
    }

    fn apply_commit(&mut self, account: AccountId, stored: MessageRows) {
        for mut cached in stored.conversations.into_values() {
            // A later message of the batch might have changed the contact through another conversation.
            if let Some(contact) = stored.contacts.get(&cached.conversation.row.contact_id) {
                cached.conversation.contact = Arc::clone(contact);
            }
            self.cache.put(cached);
        }
        self.opened.extend(stored.opened.into_iter().map(|id| (account, id)));
    }

    fn evict_changed(&mut self, account: AccountId, drafts: &[PendingEvent]) -> Eviction {
        self.cache.evict_changed(account, drafts)
    }

    fn evict_logged(&mut self, account: AccountId, changes: &[ChangedRows], cached_at: Micros) -> Eviction {
        self.cache.evict_logged(account, changes, cached_at)
    }

    fn evict_account(&mut self, account: AccountId) {
        self.cache.evict_account(account);
    }

    fn take_follow_ups(&mut self) -> Vec<FollowUp> {
        auto_assign::follow_ups(std::mem::take(&mut self.opened))
    }
}
