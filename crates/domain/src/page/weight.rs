//! How many rows of a page are read: as many as fit into the bytes of a page, whatever was asked for.
//!
//! A page is bounded by rows, and a row by the limits of its fields, which leaves up to 600 MB for a page of 1,000 messages. So the database is
//! asked for the sizes first, and only rows that fit are read. `parley_grpc` then cuts by the exact size of the answer.

use parley_storage::octets;
use parley_types::error::Result;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select};

use super::items::Page;

/// The beginning of a page of ids whose rows fit into the bytes of a page, one at least. `select` finds the rows of the ids by their key, and
/// `around` is how many bytes are read with each row, as SQL.
///
/// # Errors
/// When the database cannot be read.
pub async fn fitting<E: EntityTrait>(
    db: &impl ConnectionTrait,
    select: Select<E>,
    column: E::Column,
    around: Option<String>,
    mut ids: Page<i64>,
) -> Result<Page<i64>> {
    let fit = octets::fitting(db, select, column, around, &ids.items).await?;
    ids.truncate(fit);
    Ok(ids)
}

/// The rows of a page of ids, as many as fit.
///
/// # Errors
/// When the database cannot be read.
pub async fn rows<E: EntityTrait>(
    db: &impl ConnectionTrait,
    select: Select<E>,
    column: E::Column,
    id: impl Fn(&E::Model) -> i64,
    ids: Page<i64>,
) -> Result<Page<E::Model>> {
    let ids = fitting(db, select.clone(), column, None, ids).await?;
    let rows = select.filter(column.is_in(ids.items.iter().copied())).all(db).await?;
    Ok(ids.with(rows, id))
}
