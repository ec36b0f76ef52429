//! Accesses the table `attachments`: reads uploads, reserves ids, attaches uploads to messages and avatars, stores new rows, and releases
//! attachments that are no longer referenced.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    time::Duration,
};

use parley_storage::{
    Dialect,
    dialect::ReturnedIds,
    entity::{
        attachment::{self, Column},
        kind::AttachmentState,
    },
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, MessageId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IdenStatic as _, Iterable as _, ModelTrait as _, QueryFilter,
    sea_query::{Expr, IntoCondition, sea_value_to_json_value},
};
use serde_json::Value as Json;

use crate::write::AttachmentClaim;

/// How long after its creation an upload can be attached. The period is shorter than the lifetime of an upload, so that no upload is
/// removed while a write attaches it.
const TAKEN: Duration = Duration::from_hours(23);

const TAKEN_OF_SESSION: Duration = Duration::from_mins(9);

/// Rows of the `attachments` table that represent uploads, keyed by id.
pub type Uploads = HashMap<i64, attachment::Model>;

/// Returns whether an upload is recent enough to be attached.
pub fn is_fresh(row: &attachment::Model) -> bool {
    let life = if row.contact_inbox_id.is_some() { TAKEN_OF_SESSION } else { TAKEN };
    row.created_at > Micros::now().minus(life)
}

/// Reads uploads by id. While the caller holds the lock on the account's counters, the uploads do not change, because attaching an upload
/// requires that lock.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
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

/// Returns whether an upload can be attached, that is, whether it is unattached and has not expired.
pub fn is_free(row: &attachment::Model) -> bool {
    row.state == AttachmentState::Uploaded && is_fresh(row)
}

/// Reserves ids for new rows. Reserved ids that are not used leave gaps in the sequence, which are harmless.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn reserve(db: &impl ConnectionTrait, count: usize) -> Result<VecDeque<i64>> {
    if count == 0 {
        return Ok(VecDeque::new());
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let dialect = Dialect::of(db);
    let reservation = dialect.reserve_ids("attachments");
    if let Some(prepare) = reservation.prepare {
        db.execute_raw(dialect.unbound_statement(prepare)).await?;
    }
    let rows = db.query_all_raw(dialect.statement(reservation.reserve, [count.into()])).await?;
    let ids: VecDeque<i64> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    match (reservation.returned, ids.back()) {
        (ReturnedIds::Each, _) => Ok(ids),
        (ReturnedIds::Last, Some(last)) => Ok((last - count + 1..=*last).collect()),
        (ReturnedIds::Last, None) => Err(Error::Internal("attachments have no sequence".to_owned())),
    }
}

/// Returns the columns that are stored for a row that is inserted together with its message: all except the uploading session, because such
/// an attachment is not an upload.
fn stored_columns() -> impl Iterator<Item = Column> {
    Column::iter().filter(|column| !matches!(column, Column::ContactInboxId))
}

/// Returns the statement that inserts attachment rows, which are passed as one JSON array.
pub fn insert_text(dialect: impl Into<Dialect>) -> String {
    let columns: Vec<&str> = stored_columns().map(|column| column.as_str()).collect();
    dialect.into().insert_json_rows("attachments", &columns, &[Column::Meta.as_str()])
}

/// Encodes new rows as JSON, for the parameter of the statement that [`insert_text`] returns.
pub fn insert_rows(rows: &[attachment::Model]) -> String {
    let row = |row: &attachment::Model| {
        let value = |column: Column| (column.as_str().to_owned(), sea_value_to_json_value(&row.get(column)));
        Json::Object(stored_columns().map(value).collect())
    };
    Json::Array(rows.iter().map(row).collect()).to_string()
}

/// Returns the statement that attaches the uploads in `claims`, in SQL that both databases accept. The statement embeds the ids as text,
/// which is safe because this service allocated them.
pub fn text(claims: &[AttachmentClaim]) -> String {
    let (mut messages, mut positions, mut ids) = (String::new(), String::new(), String::new());
    for AttachmentClaim { id, message, position } in claims {
        // Writing to a `String` never fails.
        let _ = write!(messages, " WHEN {id} THEN {message}");
        let _ = write!(positions, " WHEN {id} THEN {position}");
        let _ = write!(ids, "{}{id}", if ids.is_empty() { "" } else { ", " });
    }
    format!(
        "UPDATE attachments SET state = {}, message_id = CASE id{messages} END, position = CASE id{positions} END WHERE id IN ({ids})",
        AttachmentState::InUse as i16,
    )
}

/// Attaches the uploads in `claims`, and stores new attachment rows. Executes one statement for all of `claims` and one for all of `rows`,
/// and none for an empty list.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
pub async fn store(db: &impl ConnectionTrait, claims: &[AttachmentClaim], rows: &[attachment::Model]) -> Result<()> {
    let dialect = Dialect::of(db);
    if !claims.is_empty() {
        db.execute_raw(dialect.unbound_statement(text(claims))).await?;
    }
    if !rows.is_empty() {
        db.execute_raw(dialect.statement(insert_text(dialect), [insert_rows(rows).into()]))
            .await?;
    }
    Ok(())
}

/// Marks attachments as removed. A background job then removes their files.
///
/// # Errors
/// Returns [`Error::Database`] if a query fails.
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
    use parley_storage::entity::kind::AttachmentType;
    use sea_orm::DbBackend;
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_inserted_with_all_stored_columns() {
        let columns = "id, account_id, message_id, file_type, extension, data_url, thumb_url, file_size, width, height, latitude, longitude, \
             fallback_title, meta, created_at, state, object, file_name, content_type, thumb_size, position";
        assert_eq!(
            insert_text(DbBackend::Postgres),
            format!(
                "INSERT INTO attachments ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::attachments, $1::text::jsonb)"
            )
        );
        let sqlite = insert_text(DbBackend::Sqlite);
        assert!(
            sqlite.starts_with(&format!("INSERT INTO attachments ({columns}) SELECT value ->> '$.id', ")),
            "{sqlite}"
        );
        assert!(sqlite.contains("value -> '$.meta', value ->> '$.created_at', "), "{sqlite}");
        assert!(sqlite.ends_with("value ->> '$.position' FROM json_each(?)"), "{sqlite}");
        let row = attachment::Model {
            id: 7,
            account_id: AccountId(1),
            message_id: MessageId(9),
            file_type: AttachmentType::Location,
            extension: None,
            data_url: "https://example.com/map".to_owned(),
            thumb_url: String::new(),
            file_size: Some(3),
            width: Some(4),
            height: None,
            latitude: Some(51.5),
            longitude: None,
            fallback_title: None,
            meta: json!({"a": [1]}),
            created_at: Micros(5),
            state: AttachmentState::InUse,
            object: None,
            file_name: "map".to_owned(),
            content_type: "text/plain".to_owned(),
            thumb_size: None,
            position: 2,
            contact_inbox_id: Some(8),
        };
        let inserted: Json = serde_json::from_str(&insert_rows(&[row])).unwrap();
        let expected = json!([{
            "id": 7, "account_id": 1, "message_id": 9, "file_type": AttachmentType::Location as i16, "extension": null,
            "data_url": "https://example.com/map", "thumb_url": "", "file_size": 3, "width": 4, "height": null, "latitude": 51.5,
            "longitude": null, "fallback_title": null, "meta": {"a": [1]}, "created_at": 5, "state": 1, "object": null,
            "file_name": "map", "content_type": "text/plain", "thumb_size": null, "position": 2,
        }]);
        assert_eq!(inserted, expected);
    }

    #[test]
    fn attachments_are_claimed_in_one_statement() {
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
