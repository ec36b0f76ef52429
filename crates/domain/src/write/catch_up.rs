//! What others wrote to an account since a lane looked last: told by the log, so that what they left alone stays at hand.

use crate::write::flood::Flood;
use crate::write::flood::recent;
use parley_storage::joined::Conversation;
use parley_types::time::Micros;
use std::collections::HashMap;
use std::sync::Arc;

use parley_storage::{
    entity::{account_log, event},
    load,
};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId, ConversationId, Seq},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};

use super::{cache::AccountState, shard::WriterShard};

/// Events beyond which it is quicker to read everything anew.
const MOST: u64 = 2000;

impl WriterShard {
    /// The account as it stands under the lock, with these counters. What was changed since they were known is no longer at hand.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn catch_up(
        &mut self,
        db: &impl ConnectionTrait,
        account: AccountId,
        counters: account_log::Model,
    ) -> Result<AccountState> {
        let known = self.cache.account(account).map(|counted| counted.counters.clone());
        let contended = known.as_ref().is_none_or(|known| known.head_seq != counters.head_seq);
        match known {
            Some(known) if known.epoch == counters.epoch => match seen(db, account, known.head_seq, counters.head_seq).await? {
                Some(seen) => self.cache.forget_seen(account, &seen),
                None => self.cache.forget(account),
            },
            _ => self.cache.forget(account),
        }
        let row = match self.cache.account(account) {
            Some(counted) => Arc::clone(&counted.account),
            None => load::account(db, account).await?,
        };
        Ok(AccountState {
            account: row,
            counters,
            contended,
        })
    }
}

/// The conversation and the contact of each event after one place and up to another; none if they are too many, or no longer there.
async fn seen(
    db: &impl ConnectionTrait,
    account: AccountId,
    after: Seq,
    to: Seq,
) -> Result<Option<Vec<(Option<ConversationId>, Option<ContactId>)>>> {
    let count = to.0 - after.0;
    if count == 0 {
        return Ok(Some(Vec::new()));
    }
    let Some(most) = u64::try_from(count).ok().filter(|count| *count <= MOST) else {
        return Ok(None);
    };
    let rows: Vec<(Option<ConversationId>, Option<ContactId>)> = event::Entity::find()
        .select_only()
        .columns([event::Column::ConversationId, event::Column::ContactId])
        .filter(event::Column::AccountId.eq(account))
        .filter(event::Column::Seq.gt(after))
        .filter(event::Column::Seq.lte(to))
        .into_tuple()
        .all(db)
        .await?;
    Ok((rows.len() as u64 == most).then_some(rows))
}

impl WriterShard {
    /// Each conversation with its messages of the last minute: by what the lane knew a moment ago where it did, else counted.
    pub(super) async fn floods(
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
}
