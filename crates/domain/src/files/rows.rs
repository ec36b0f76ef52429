//! The rows of attachments: reads uploads, reserves ids, stores claims and new rows, and releases attachments that nothing refers to.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    time::Duration,
};

use parley_storage::entity::{attachment, kind::AttachmentState};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, MessageId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, Statement,
    sea_query::{Expr, IntoCondition},
};
use serde_json::{Value as Json, json};

use crate::write::AttachmentClaim;

/// How long an upload can be taken. Unattached uploads are removed later, so none is removed while a write takes it.
const TAKEN: Duration = Duration::from_hours(23);

const TAKEN_OF_SESSION: Duration = Duration::from_mins(9);

/// Uploads by id.
pub type Uploads = HashMap<i64, attachment::Model>;

/// Whether an upload can still be taken.
pub fn is_fresh(row: &attachment::Model) -> bool {
    let life = if row.contact_inbox_id.is_some() { TAKEN_OF_SESSION } else { TAKEN };
    row.created_at > Micros::now().minus(life)
}

/// Reads uploads by id. Under the lock of the account's counters they do not change: taking one needs the lock.
///
/// # Errors
/// [`Error::Database`] and [`Error::Unavailable`] when a statement fails.
pub async fn uploads(db: &impl ConnectionTrait, account: AccountId, ids: Vec<i64>) -> Result<Uploads> {
    if ids.is_empty() {
        return Ok(Uploads::new());
    }
    let rows = attachment::Entity::find()
        .filter(attachment::Column::AccountId.eq(account))
        .filter(attachment::Column::Id.is_in(ids))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Whether an upload can be taken: nothing has taken it, and it is fresh.
pub fn is_free(row: &attachment::Model) -> bool {
    row.state == AttachmentState::Uploaded && is_fresh(row)
}

/// Reserves ids for new rows. Reserved ids that are not used stay gaps, as with any sequence.
///
/// # Errors
/// [`Error::Database`] and [`Error::Unavailable`] when a statement fails.
pub async fn reserve(db: &impl ConnectionTrait, count: usize) -> Result<VecDeque<i64>> {
    if count == 0 {
        return Ok(VecDeque::new());
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let backend = db.get_database_backend();
    if backend == DbBackend::Postgres {
        let sql = "SELECT nextval(pg_get_serial_sequence('attachments', 'id')) FROM generate_series(1, $1)";
        let rows = db
            .query_all_raw(Statement::from_sql_and_values(backend, sql, [count.into()]))
            .await?;
        return Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?);
    }
    // SQLite adds the row with the first row of the table.
    let begin = "INSERT INTO sqlite_sequence (name, seq) SELECT 'attachments', 0 \
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'attachments')";
    db.execute_raw(Statement::from_string(backend, begin)).await?;
    let sql = "UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'attachments' RETURNING seq";
    let row = db
        .query_one_raw(Statement::from_sql_and_values(backend, sql, [count.into()]))
        .await?;
    let last: i64 = row
        .ok_or_else(|| Error::Internal("attachments have no sequence".to_owned()))?
        .try_get_by_index(0)?;
    Ok((last - count + 1..=last).collect())
}

/// The columns of a new row.
const COLUMNS: [&str; 21] = [
    "id",
    "account_id",
    "message_id",
    "file_type",
    "extension",
    "data_url",
    "thumb_url",
    "file_size",
    "width",
    "height",
    "latitude",
    "longitude",
    "fallback_title",
    "meta",
    "created_at",
    "state",
    "object",
    "file_name",
    "content_type",
    "thumb_size",
    "position",
];

/// The statement that stores new rows, which are one parameter: a JSON array.
pub fn insert_text(backend: DbBackend) -> String {
    let columns = COLUMNS.join(", ");
    if backend == DbBackend::Postgres {
        return format!(
            "INSERT INTO attachments ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::attachments, $1::text::jsonb)"
        );
    }
    let values = COLUMNS.map(|column| {
        let arrow = if column == "meta" { "->" } else { "->>" };
        format!("value {arrow} '$.{column}'")
    });
    format!("INSERT INTO attachments ({columns}) SELECT {} FROM json_each(?)", values.join(", "))
}

/// New rows as the parameter of [`insert_text`].
pub fn insert_rows(rows: &[attachment::Model]) -> String {
    let row = |row: &attachment::Model| {
        json!({
            "id": row.id,
            "account_id": row.account_id.0,
            "message_id": row.message_id.0,
            "file_type": row.file_type as i16,
            "extension": row.extension,
            "data_url": row.data_url,
            "thumb_url": row.thumb_url,
            "file_size": row.file_size,
            "width": row.width,
            "height": row.height,
            "latitude": row.latitude,
            "longitude": row.longitude,
            "fallback_title": row.fallback_title,
            "meta": row.meta,
            "created_at": row.created_at.0,
            "state": row.state as i16,
            "object": row.object,
            "file_name": row.file_name,
            "content_type": row.content_type,
            "thumb_size": row.thumb_size,
            "position": row.position,
        })
    };
    Json::Array(rows.iter().map(row).collect()).to_string()
}

/// The statement that stores claims, for both databases. It holds nothing but ids that this service allocated.
pub fn text(claims: &[AttachmentClaim]) -> String {
    let (mut messages, mut positions, mut ids) = (String::new(), String::new(), String::new());
    for AttachmentClaim { id, message, position } in claims {
        // Writing to a string cannot fail.
        let _ = write!(messages, " WHEN {id} THEN {message}");
        let _ = write!(positions, " WHEN {id} THEN {position}");
        let _ = write!(ids, "{}{id}", if ids.is_empty() { "" } else { ", " });
    }
    format!(
        "UPDATE attachments SET state = {}, message_id = CASE id{messages} END, position = CASE id{positions} END WHERE id IN ({ids})",
        AttachmentState::InUse as i16,
    )
}

/// Stores claims and new rows: one statement for each, or none.
///
/// # Errors
/// [`Error::Database`] and [`Error::Unavailable`] when a statement fails.
pub async fn store(db: &impl ConnectionTrait, claims: &[AttachmentClaim], rows: &[attachment::Model]) -> Result<()> {
    let backend = db.get_database_backend();
    if !claims.is_empty() {
        db.execute_raw(Statement::from_string(backend, text(claims))).await?;
    }
    if !rows.is_empty() {
        let values = [insert_rows(rows).into()];
        db.execute_raw(Statement::from_sql_and_values(backend, insert_text(backend), values))
            .await?;
    }
    Ok(())
}

/// Marks attachments as removed. A background job removes their files.
///
/// # Errors
/// [`Error::Database`] and [`Error::Unavailable`] when a statement fails.
pub async fn release(db: &impl ConnectionTrait, which: impl IntoCondition) -> Result<()> {
    attachment::Entity::update_many()
        .col_expr(attachment::Column::State, Expr::value(AttachmentState::Removed))
        .col_expr(attachment::Column::MessageId, Expr::value(MessageId(0)))
        .filter(which.into_condition())
        .filter(attachment::Column::State.ne(AttachmentState::Removed))
        .exec(db)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_one_statement() {
        let claim = |id, position| AttachmentClaim {
            id,
            message: MessageId(9),
            position,
        };
        assert_eq!(
            text(&[claim(5, 0), claim(4, 1)]),
            "UPDATE attachments SET state = 1, message_id = CASE id WHEN 5 THEN 9 WHEN 4 THEN 9 END, \
             position = CASE id WHEN 5 THEN 0 WHEN 4 THEN 1 END WHERE id IN (5, 4)"
        );
    }
}
