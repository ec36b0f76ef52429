//! SQL for the size of rows in bytes, with which the database determines how many rows fit into a response before they are read.

use std::collections::HashMap;

use parley_fault::Protection;
use parley_types::error::Result;
use sea_orm::{
    ColumnTrait, ColumnType, ConnectionTrait, EntityTrait, IdenStatic as _, Iterable as _, QueryFilter, QuerySelect, QueryTrait as _,
    Select,
    sea_query::{Expr, SimpleExpr},
};

use crate::{
    dialect::Dialect,
    entity::{contact, message},
};

/// Maximum total size of the text and attribute maps on one page of a list, in bytes. A single row that is larger is returned nevertheless.
pub const PAGE_BYTES: i64 = 2 * 1024 * 1024;

/// Returns SQL for the size in bytes of the text and attribute maps of a row of `E`, for a statement in which the table is named `table`.
/// Returns `0` if the entity has no such columns.
pub fn octets<E: EntityTrait>(dialect: Dialect, table: &str) -> String {
    let length = |column: E::Column| {
        let quoted = format!("\"{table}\".\"{}\"", column.as_str());
        let text = match column.def().get_column_type() {
            ColumnType::Json | ColumnType::JsonBinary => dialect.json_as_text(&quoted),
            ColumnType::String(_) | ColumnType::Text | ColumnType::Char(_) | ColumnType::Blob | ColumnType::VarBinary(_) => quoted,
            _ => return None,
        };
        Some(format!("COALESCE(octet_length({text}), 0)"))
    };
    let lengths: Vec<String> = E::Column::iter().filter_map(length).collect();
    if lengths.is_empty() {
        "0".to_owned()
    } else {
        format!("({})", lengths.join(" + "))
    }
}

/// Returns SQL for the size in bytes of the data that is read together with a row of `conversations`: the contact and the newest messages.
pub fn around_conversation(dialect: Dialect) -> String {
    format!(
        "COALESCE((SELECT {} FROM contacts WHERE contacts.id = conversations.contact_id), 0) + COALESCE((SELECT SUM({}) FROM messages WHERE \
         messages.account_id = conversations.account_id AND messages.id IN (conversations.last_message_id, \
         conversations.last_non_activity_message_id, conversations.last_public_message_id)), 0)",
        octets::<contact::Entity>(dialect, "contacts"),
        octets::<message::Entity>(dialect, "messages")
    )
}

/// Returns how many of the rows with these ids, starting with the first id, fit into [`PAGE_BYTES`], but at least one. `select` finds the
/// rows by their key, and `around` is SQL for the size in bytes of the data that is read together with each row.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn fitting<E: EntityTrait>(
    db: &impl ConnectionTrait,
    select: Select<E>,
    column: E::Column,
    around: Option<String>,
    ids: &[i64],
) -> Result<usize> {
    if ids.is_empty() || !parley_fault::is_on(Protection::PageBytes) {
        return Ok(ids.len());
    }
    let mut bytes_of = octets::<E>(Dialect::of(db), E::default().table_name());
    if let Some(around) = around {
        bytes_of = format!("{bytes_of} + {around}");
    }
    let id: SimpleExpr = Expr::col((E::default(), column));
    let query = select
        .filter(column.is_in(ids.iter().copied()))
        .select_only()
        .expr_as(id, "id")
        .expr_as(Expr::cust(format!("CAST({bytes_of} AS BIGINT)")), "bytes");
    let mut sizes: HashMap<i64, i64> = HashMap::new();
    for row in db.query_all(query.as_query()).await? {
        sizes.insert(row.try_get_by(0)?, row.try_get_by(1)?);
    }
    let mut bytes = 0;
    let fit = ids.iter().take_while(|id| {
        bytes += sizes.get(id).copied().unwrap_or_default();
        bytes <= PAGE_BYTES
    });
    Ok(fit.count().max(1))
}
