//! Computes cache keys for the lists that front ends cache: labels, inboxes and teams.
//!
//! A key consists of the number of rows in its list and the timestamp of the most recently changed row. Every write to an account has a
//! later timestamp than all earlier writes ([`WriteSet::at`](crate::write::WriteSet)). Therefore, two states of a list with the same latest
//! timestamp can differ only by deleted rows, and if their numbers of rows are also equal, the states are identical. Keys are computed from
//! the rows and never stored, so all replicas and both databases return the same keys, and writes to the lists cost nothing extra.

use parley_storage::{
    Database,
    entity::{inbox, label, team, team_member},
};
use parley_types::{
    error::Result,
    id::{AccountId, InboxId},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Select};
use sha2::{Digest as _, Sha256};

use crate::auth::caller::Caller;

/// The cache keys for an account's lists as one caller sees the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKeys {
    /// The cache key for the list of labels.
    pub label: String,
    /// The cache key for the list of inboxes that the caller can see.
    pub inbox: String,
    /// The cache key for the list of teams. It also changes when the caller joins or leaves a team.
    pub team: String,
}

/// The number of rows in a list and the latest timestamp among them, which is 0 if the list is empty.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    rows: i64,
    last: i64,
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.rows, self.last)
    }
}

/// Reads the cache keys of the account's lists as the caller sees them, with a fixed number of statements.
///
/// # Errors
/// Returns [`parley_types::error::Error::NotMember`] or [`parley_types::error::Error::Suspended`] if the caller has no access to the
/// account, and [`parley_types::error::Error::Database`] if a query fails.
pub(crate) async fn read(db: &Database, caller: &Caller, account: AccountId) -> Result<CacheKeys> {
    let access = caller.access(account)?;
    let labels = label::Entity::find().filter(label::Column::AccountId.eq(account));
    let teams = team::Entity::find().filter(team::Column::AccountId.eq(account));
    let mut inboxes = inbox::Entity::find().filter(inbox::Column::AccountId.eq(account));
    let mut scope = String::new();
    if let Some(only) = &access.inboxes {
        inboxes = inboxes.filter(inbox::Column::Id.is_in(only.iter().map(|id| id.0)));
        scope = fingerprint(only);
    }
    let own = match caller.user_id() {
        None => Extent::default(),
        Some(user) => {
            let memberships = team_member::Entity::find()
                .filter(team_member::Column::AccountId.eq(account))
                .filter(team_member::Column::UserId.eq(user));
            extent(db, memberships, team_member::Column::TeamId, team_member::Column::CreatedAt).await?
        }
    };
    let labels = extent(db, labels, label::Column::Id, label::Column::UpdatedAt).await?;
    let inboxes = extent(db, inboxes, inbox::Column::Id, inbox::Column::UpdatedAt).await?;
    let teams = extent(db, teams, team::Column::Id, team::Column::UpdatedAt).await?;
    Ok(CacheKeys {
        label: labels.to_string(),
        inbox: format!("{inboxes}{scope}"),
        team: format!("{teams}-{own}"),
    })
}

async fn extent<E: EntityTrait>(db: &Database, rows: Select<E>, id: E::Column, stamp: E::Column) -> Result<Extent> {
    let found: Option<(i64, Option<i64>)> = rows
        .select_only()
        .column_as(id.count(), "found")
        .column_as(stamp.max(), "last")
        .into_tuple()
        .one(db.read())
        .await?;
    let (rows, last) = found.unwrap_or_default();
    Ok(Extent {
        rows,
        last: last.unwrap_or_default(),
    })
}

/// Returns a short hash of a set of inbox ids. The cache key includes it, because the set of inboxes that a caller can see can change
/// without a change to any inbox.
fn fingerprint(inboxes: &[InboxId]) -> String {
    let mut ids: Vec<i64> = inboxes.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    let hash = ids
        .iter()
        .fold(Sha256::new(), |hash, id| hash.chain_update(id.to_be_bytes()))
        .finalize();
    format!("-{}", hex::encode(&hash[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_fingerprint_ignores_order() {
        let of = |ids: &[i64]| fingerprint(&ids.iter().copied().map(InboxId).collect::<Vec<_>>());
        assert_eq!(of(&[2, 1]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[1, 3]));
        assert_ne!(of(&[]), of(&[1]));
    }
}
