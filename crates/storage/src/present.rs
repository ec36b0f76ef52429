//! Presence: when users and contacts were last seen, and which of them count as online.

use std::{collections::HashMap, time::Duration};

use parley_types::{error::Result, id::AccountId, time::Micros};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use crate::entity::{kind::PresenceKind, presence};

/// How long a user or contact counts as online after being last seen, as in Chatwoot.
pub const WINDOW: Duration = Duration::from_secs(20);

/// Whether a user or contact that was last seen at `seen_at` counts as online.
pub fn present(seen_at: Option<Micros>, now: Micros) -> bool {
    seen_at.is_some_and(|at| at > now.minus(WINDOW))
}

/// Returns when each of the given users or contacts was last seen, by id. Those that were never seen are omitted.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn seen(
    db: &impl ConnectionTrait,
    account: AccountId,
    kind: PresenceKind,
    ids: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, Micros>> {
    let ids: Vec<i64> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = presence::Entity::find()
        .filter(presence::Column::AccountId.eq(account))
        .filter(presence::Column::Kind.eq(kind))
        .filter(presence::Column::Id.is_in(ids))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.seen_at)).collect())
}
