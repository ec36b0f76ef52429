//! What messages name and the rules need to know of: messages that are replied to, and source ids that are taken.

use std::collections::HashMap;

use parley_storage::entity::message;
use parley_types::{
    error::Result,
    id::{AccountId, ConversationId, InboxId, MessageId},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};

/// The messages that are replied to: their conversation and source id.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn replied(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: Vec<i64>,
) -> Result<HashMap<MessageId, (ConversationId, Option<String>)>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(MessageId, ConversationId, Option<String>)> = message::Entity::find()
        .select_only()
        .columns([message::Column::Id, message::Column::ConversationId, message::Column::SourceId])
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::Id.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, conversation, source)| (id, (conversation, source)))
        .collect())
}

/// Whose these unique source ids are.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn source_ids(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: Vec<String>,
) -> Result<HashMap<(InboxId, String), MessageId>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(InboxId, String, MessageId)> = message::Entity::find()
        .select_only()
        .columns([message::Column::InboxId, message::Column::UniqueSourceId, message::Column::Id])
        .filter(message::Column::AccountId.eq(account))
        .filter(message::Column::UniqueSourceId.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|(inbox, source, id)| ((inbox, source), id)).collect())
}
