//! Reopens snoozed conversations when they are due. Every replica runs this job. The row lock of the account ensures that each conversation
//! is reopened only once.

use std::sync::Arc;

use parley_storage::{
    entity::{conversation, kind::ConversationStatus},
    load,
};
use parley_types::{
    error::Result,
    id::{AccountId, ConversationId},
    time::Micros,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    auth::caller::Caller,
    conversations::{Conversations, assignment::assign_automatically, rows::save},
    messages::rules::set_status,
    write::{Write, call::Call},
};

/// The maximum number of snoozed conversations that one call examines.
const BATCH: u64 = 200;

impl Conversations {
    /// Reopens the snoozed conversations that are due, a bounded number per call. Returns how many conversations were examined; more might
    /// be due.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Database`] if a query fails; [`parley_types::error::Error::Busy`] if the writer's queue is full.
    /// Conversations that were already reopened stay open.
    pub async fn unsnooze_due(&self) -> Result<usize> {
        use conversation::Column;
        let due = conversation::Entity::find()
            .select_only()
            .columns([Column::AccountId, Column::Id])
            .filter(Column::SnoozedUntil.lte(Micros::now()))
            .filter(Column::Status.eq(ConversationStatus::Snoozed))
            .order_by_asc(Column::SnoozedUntil)
            .limit(BATCH)
            .into_tuple()
            .all(self.context.db.read());
        let mut due: Vec<(AccountId, ConversationId)> = self.context.db.in_time(async { Ok(due.await?) }).await?;
        due.sort_unstable();
        for group in due.chunk_by(|one, next| one.0 == next.0) {
            let ids: Vec<ConversationId> = group.iter().map(|(_, id)| *id).collect();
            let call = Call {
                caller: Arc::new(Caller::parley()),
                account: group[0].0,
                key: None,
                traceparent: String::new(),
            };
            self.context.writer.write(call, move |write| Box::pin(wake(write, ids))).await?;
        }
        Ok(due.len())
    }
}

async fn wake(write: &mut Write, ids: Vec<ConversationId>) -> Result<()> {
    let account = Arc::clone(write.account());
    for mut conversation in load::conversations(&write.txn, &account, &ids).await? {
        // Another replica might have reopened the conversation already, or a caller might have snoozed it again.
        let due = conversation.row.snoozed_until.is_some_and(|until| until <= write.set.at);
        if due && conversation.row.status == ConversationStatus::Snoozed {
            set_status(&mut write.set, &mut conversation, ConversationStatus::Open, None);
            assign_automatically(write, &mut conversation).await?;
            save(write, &mut conversation).await?;
        }
    }
    Ok(())
}
