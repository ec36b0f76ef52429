//! Loads the data that a batch of messages reads: from the cache if possible, otherwise by a fixed number of statements.

use std::{collections::HashMap, sync::Arc};

use parley_storage::{entity::account, joined::Conversation, load};
use parley_types::{
    error::Result,
    id::{AccountId, ConversationId},
    time::Micros,
};
use sea_orm::{ConnectionTrait, DbBackend};

use super::{
    batches::MessageBatches,
    cache::CachedConversation,
    context::BatchContext,
    flood::{Flood, recent},
    references::{replied_to, reply_id, taken_source_ids},
};
use crate::{
    files::{claims::Available, rows},
    messages::new_message::NewMessage,
    write::{idempotency::StoredResponses, planner::BatchCall},
};

fn items(calls: &[BatchCall<MessageBatches>]) -> impl Iterator<Item = &(ConversationId, NewMessage)> {
    calls.iter().flat_map(|call| &call.items)
}

impl MessageBatches {
    /// Loads the conversations to which the calls add messages: from the cache if possible, otherwise from the database.
    pub(super) async fn load_conversations(
        &mut self,
        db: &impl ConnectionTrait,
        account: &Arc<account::Model>,
        calls: &[BatchCall<Self>],
    ) -> Result<BatchContext> {
        let ids = items(calls).map(|(id, _)| *id);
        let mut cached: HashMap<ConversationId, CachedConversation> =
            ids.filter_map(|id| Some((id, self.cache.get(account.id, id)?))).collect();
        let mut missing: Vec<ConversationId> = items(calls).map(|(id, _)| *id).filter(|id| !cached.contains_key(id)).collect();
        missing.sort_unstable();
        missing.dedup();
        let conversations = load::conversations(db, account, &missing).await?;
        for (conversation, flood) in self.with_recent_messages(db, conversations).await? {
            cached.insert(conversation.row.id, CachedConversation { conversation, flood });
        }
        Ok(BatchContext {
            conversations: cached,
            ..BatchContext::default()
        })
    }

    /// Adds the recent message counts to each conversation: cached counts if they are recent enough, otherwise counts from the database.
    async fn with_recent_messages(
        &mut self,
        db: &impl ConnectionTrait,
        conversations: Vec<Conversation>,
    ) -> Result<Vec<(Conversation, Flood)>> {
        let limit = self.config.messages_per_minute;
        if limit == 0 {
            return Ok(conversations.into_iter().map(|each| (each, Flood::default())).collect());
        }
        let now = Micros::now();
        let (mut floods, mut unknown) = (HashMap::new(), Vec::new());
        for conversation in &conversations {
            let row = &conversation.row;
            match self.cache.flood(row) {
                Some(flood) => drop(floods.insert(row.id, flood)),
                None => unknown.push(row),
            }
        }
        for (id, count, last) in recent(db, &unknown, now, limit).await? {
            floods.insert(id, Flood::of(count, last));
        }
        let with = |each: Conversation| {
            let flood = floods.remove(&each.row.id).unwrap_or_default();
            (each, flood)
        };
        Ok(conversations.into_iter().map(with).collect())
    }

    /// Reads the messages that the calls reply to, the unique source ids that are already taken, and the uploads; also reserves ids for new
    /// attachments. Most of the statements run only if a call needs them.
    pub(super) async fn load_references(
        &self,
        db: &impl ConnectionTrait,
        context: &mut BatchContext,
        account: AccountId,
        calls: &[BatchCall<Self>],
        stored: &StoredResponses,
    ) -> Result<()> {
        let named = items(calls)
            .filter_map(|(_, new)| reply_id(new.content_attributes.get("in_reply_to")?))
            .map(|id| id.0);
        context.replied_to = replied_to(db, account, named.collect()).await?;
        let uniques = items(calls)
            .filter(|(_, new)| new.unique_source_id)
            .filter_map(|(_, new)| new.source_id.clone());
        context.taken_source_ids = taken_source_ids(db, account, uniques.collect()).await?;
        let named = items(calls).flat_map(|(_, new)| new.uploads());
        let uploads = rows::uploads(db, account, named.collect()).await?;
        let new_calls = calls.iter().filter(|call| call.is_new(stored));
        let count = new_calls.flat_map(|call| &call.items).map(|(_, new)| new.new_rows()).sum();
        // Reserving ids on SQLite requires a write, and the connections of the read pool are read-only.
        let ids = if db.get_database_backend() == DbBackend::Postgres {
            rows::reserve(db, count).await?
        } else {
            rows::reserve(self.db.write(), count).await?
        };
        context.available = Available { uploads, ids };
        Ok(())
    }
}
