//! Who is there: within how long, and when each was last seen.

use std::{collections::HashMap, time::Duration};

use parley_types::{error::Result, id::AccountId, time::Micros};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use crate::entity::{kind::PresenceKind, presence};

/// How long somebody counts as there after a sign of life; Chatwoot's window.
pub const WINDOW: Duration = Duration::from_secs(20);

/// Whether who was seen at this time counts as there.
pub fn present(seen_at: Option<Micros>, now: Micros) -> bool {
    seen_at.is_some_and(|at| at > now.minus(WINDOW))
}

/// When each of these was last there, those who were at all.
///
/// # Errors
/// When the database cannot be read.
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
