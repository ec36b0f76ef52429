//! Limits the rows of a page by their size in bytes, regardless of the requested number.
//!
//! A page is limited by its number of rows, and a row by the limits of its fields. Together, these limits allow 600 MB for a page of 1,000
//! messages. Therefore the sizes are queried first, and only rows that fit are read. `parley_grpc` then truncates the page by the exact
//! size of the response.

use parley_storage::octets;
use parley_types::error::Result;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select};

use super::items::Page;

/// Truncates a page of ids to the rows that fit into [`octets::PAGE_BYTES`], but at least one. `select` and `column` find the rows by their
/// ids; `around` is an SQL expression for the number of bytes that are read in addition to each row.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
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

/// Reads the rows of a page of ids, as many as fit into [`octets::PAGE_BYTES`], but at least one.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
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
