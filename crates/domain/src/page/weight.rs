//! Limits a page by the size of its rows in bytes, in addition to the requested number of rows.
//!
//! A page has a maximum number of rows, and the fields of a row have maximum sizes, but these limits still allow 600 MB for a page of 1,000
//! messages. Therefore, the sizes are queried first, and only the rows that fit are read. `parley_grpc` then truncates the page according
//! to the exact size of the response.

use parley_storage::octets;
use parley_types::error::Result;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Select};

use super::items::Page;

/// Truncates a page of ids so that its rows fit into [`octets::PAGE_BYTES`], but keeps at least one. `select` and `column` select the rows
/// by id, and `around` is an SQL expression for the number of additional bytes that are read with each row.
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

/// Reads the rows for a page of ids: as many as fit into [`octets::PAGE_BYTES`], but at least one.
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
