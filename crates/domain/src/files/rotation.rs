//! Rotates the key that signs file links.

use std::collections::BTreeMap;

use parley_storage::{
    Database,
    entity::{attachment, contact, inbox, secret},
};
use parley_types::error::Result;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{CaseStatement, Expr, SimpleExpr},
};

use super::signed::{KEY, Name, Signer, signed_part};

/// The maximum number of rows that one statement reads or updates.
const ROWS: u64 = 200;

/// Replaces the key that signs file links, and re-signs every link in the database. Returns the number of links that were re-signed. Links
/// that clients received earlier become invalid, as do the names of unattached uploads. No server may be running, because a server keeps
/// using the key that it read at start-up.
///
/// All changes are made in one transaction.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn rotate(db: &Database) -> Result<usize> {
    use attachment::Column;
    let old = Signer::open(db).await?;
    let key = rand::random::<[u8; 32]>();
    let new = Signer::of(key);
    let txn = db.begin().await?;
    let row = secret::ActiveModel {
        name: Set(KEY.to_owned()),
        value: Set(key.to_vec()),
    };
    secret::Entity::update(row).exec(&txn).await?;
    let signed = |link: &str| resigned(&old, &new, link);
    let mut count = column::<attachment::Entity>(&txn, Column::Id, Column::DataUrl, &signed).await?;
    count += column::<attachment::Entity>(&txn, Column::Id, Column::ThumbUrl, &signed).await?;
    count += column::<contact::Entity>(&txn, contact::Column::Id, contact::Column::AvatarUrl, &signed).await?;
    count += column::<inbox::Entity>(&txn, inbox::Column::Id, inbox::Column::AvatarUrl, &signed).await?;
    txn.commit().await?;
    Ok(count)
}

/// Returns the link, signed with the new key, or `None` if it is not a permanent link that was signed with the old key.
fn resigned(old: &Signer, new: &Signer, link: &str) -> Option<String> {
    let part = signed_part(link);
    match old.read_name(part)? {
        name @ Name::File { .. } => Some(link.replacen(part, &new.sign(name), 1)),
        Name::Link { .. } | Name::Upload { .. } => None,
    }
}

/// Re-signs the links in one column, a bounded number of rows at a time, in the order of their ids.
async fn column<E: EntityTrait>(
    txn: &impl ConnectionTrait,
    id: E::Column,
    link: E::Column,
    signed: &(impl Fn(&str) -> Option<String> + Sync),
) -> Result<usize> {
    let (mut after, mut count) = (0_i64, 0);
    loop {
        let rows: Vec<(i64, String)> = E::find()
            .select_only()
            .column(id)
            .column(link)
            .filter(ColumnTrait::gt(&id, after))
            .filter(ColumnTrait::contains(&link, "/files/"))
            .order_by_asc(id)
            .limit(ROWS)
            .into_tuple()
            .all(txn)
            .await?;
        let Some((last, _)) = rows.last() else { return Ok(count) };
        after = *last;
        let changed: BTreeMap<i64, String> = rows.iter().filter_map(|(id, link)| Some((*id, signed(link)?))).collect();
        if changed.is_empty() {
            continue;
        }
        count += changed.len();
        let mut case = CaseStatement::new();
        for (row, link) in &changed {
            case = case.case(Expr::col(id).eq(*row), link.as_str());
        }
        let value: SimpleExpr = case.finally(Expr::col(link)).into();
        E::update_many()
            .col_expr(link, value)
            .filter(ColumnTrait::is_in(&id, changed.keys().copied()))
            .exec(txn)
            .await?;
    }
}
