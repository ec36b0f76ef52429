//! Cache keys of the lists that front ends hold: labels, inboxes and teams.
//!
//! A key is derived from the rows of its list: how many there are, and the stamp of the row that changed last. Every write of an account has a
//! later stamp than all writes before it ([`WriteSet::at`](crate::write::WriteSet)), so between two states of a
//! list with the same last stamp rows were at most removed, and with the same number of rows none was. Nothing is stored for it, so all
//! replicas and both databases agree, and a write of the list costs nothing more.

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

/// The cache keys of an account's lists as one caller sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKeys {
    /// Of the labels.
    pub label: String,
    /// Of the inboxes that the caller sees.
    pub inbox: String,
    /// Of the teams, with whether the caller belongs to them.
    pub team: String,
}

/// How many rows a list has, and the last of their stamps; 0 without rows.
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
/// [`parley_types::error::Error::NotMember`]; [`parley_types::error::Error::Suspended`].
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

/// Distinguishes sets of inboxes: which inboxes a caller sees may change without any of them changing.
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
    fn sets_of_inboxes_differ_whatever_their_order() {
        let of = |ids: &[i64]| fingerprint(&ids.iter().copied().map(InboxId).collect::<Vec<_>>());
        assert_eq!(of(&[2, 1]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[1, 3]));
        assert_ne!(of(&[]), of(&[1]));
    }
}
