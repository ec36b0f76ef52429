//! Stored responses: a repeated request receives the response that was stored in the transaction of its write.

use std::collections::HashMap;

use parley_eventlog::{cursor::Cursor, event_record::EventRecord};
use parley_storage::{Database, entity::idempotency_key};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId},
    time::Micros,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel as _, QueryFilter, RuntimeErr, sea_query::Expr,
};
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    call::{Answer, IdempotencyKey},
    response_subject::{ANY_CONTACT, ResponseSubject},
};

/// Stored responses, keyed by the id under which they are stored.
pub type StoredResponses = HashMap<Uuid, idempotency_key::Model>;

/// Loads the responses that are stored under the request ids of these keys, for any owner: [`find`] decides whether one belongs to the
/// caller.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub async fn load<'k, T: 'k>(
    db: &impl ConnectionTrait,
    account: AccountId,
    keys: impl Iterator<Item = &'k IdempotencyKey<T>>,
) -> Result<StoredResponses> {
    let ids: Vec<Uuid> = keys.flat_map(|key| [key.request_id, key.owner.owned(key.request_id)]).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = idempotency_key::Entity::find()
        .filter(idempotency_key::Column::AccountId.eq(account))
        .filter(idempotency_key::Column::RequestId.is_in(ids))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| (row.request_id, row)).collect())
}

/// Same as [`load`], for a batch on SQLite. Uses sqlx directly: most batches have keys, and sea-orm moves a future of 15 KB several times
/// for each query.
///
/// # Errors
/// Same as [`load`].
pub async fn load_on_sqlite<'k, T: 'k>(
    db: &Database,
    account: AccountId,
    keys: impl Iterator<Item = &'k IdempotencyKey<T>>,
) -> Result<StoredResponses> {
    let ids: Vec<Uuid> = keys.flat_map(|key| [key.request_id, key.owner.owned(key.request_id)]).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT request_id, fingerprint, response, created_at, owner, contact_id FROM idempotency_keys \
         WHERE account_id = ? AND request_id IN ({})",
        vec!["?"; ids.len()].join(", ")
    );
    // Safe: values from the request are bound as parameters and are not part of the SQL.
    let mut query = sqlx::query::<sqlx::Sqlite>(sqlx::AssertSqlSafe(sql)).bind(account.0);
    for id in ids {
        query = query.bind(id);
    }
    let broken = |error: sqlx::Error| DbErr::Query(RuntimeErr::SqlxError(error.into()));
    let rows = query.fetch_all(db.sqlite()?).await.map_err(broken)?;
    let read = |row: &SqliteRow| -> sqlx::Result<(Uuid, idempotency_key::Model)> {
        let request_id = row.try_get(0)?;
        let row = idempotency_key::Model {
            account_id: account,
            request_id,
            fingerprint: row.try_get(1)?,
            response: row.try_get(2)?,
            created_at: Micros(row.try_get(3)?),
            owner: row.try_get(4)?,
            contact_id: row.try_get::<Option<i64>, _>(5)?.map(ContactId),
        };
        Ok((request_id, row))
    };
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(broken)?)
}

/// Returns the caller's own stored response, if there is one.
///
/// The response to the first caller that uses a request id is stored under the request id itself, where replicas of older releases, which
/// do not record owners, find it during a rolling update. The responses to every other caller, and to every visitor, are stored under an id
/// derived from the owner and the request id. Visitors therefore cannot choose where their responses are stored, and cannot occupy the
/// request ids of other callers. A row without an owner was written by an older release. It is returned to any caller that repeats the same
/// request, except to visitors without a session, because the responses to their requests contain credentials.
pub fn find<'k, T>(key: &IdempotencyKey<T>, stored: &'k StoredResponses) -> Option<&'k idempotency_key::Model> {
    // Usually no response is stored, so avoid computing the digest.
    if stored.is_empty() {
        return None;
    }
    // Check the owner: anybody can compute the derived id of another caller and use it as a request id.
    let derived = || {
        stored
            .get(&key.owner.owned(key.request_id))
            .filter(|row| row.owner == Some(key.owner.id))
    };
    let first = stored.get(&key.request_id).filter(|row| match row.owner {
        Some(owner) => owner == key.owner.id,
        None => !key.owner.is_anonymous && row.fingerprint == key.fingerprint,
    });
    first.or_else(derived)
}

/// Returns the stored response to a request that has already been executed.
///
/// # Errors
/// [`Error::NotFound`] if the response was erased together with the contact it was about; [`Error::IdempotencyKeyReused`] if the response
/// belongs to a different request of the same caller.
pub fn replay<T>(key: &IdempotencyKey<T>, stored: &idempotency_key::Model) -> Result<Answer<T>> {
    if stored.fingerprint == key.fingerprint && stored.response == ERASED {
        Err(Error::not_found("the reply to request_id", key.request_id))
    } else if stored.fingerprint == key.fingerprint {
        Ok(Answer::Replayed(stored.response.clone()))
    } else {
        Err(Error::IdempotencyKeyReused(key.request_id))
    }
}

/// Creates the row in which a response is stored. `stored` contains the responses that were found by [`load`] for the key.
pub fn row<T>(account: AccountId, key: &IdempotencyKey<T>, stored: &StoredResponses, response: &NewResponse<T>) -> idempotency_key::Model {
    let is_taken = key.owner.is_visitor || stored.contains_key(&key.request_id);
    idempotency_key::Model {
        account_id: account,
        request_id: if is_taken {
            key.owner.owned(key.request_id)
        } else {
            key.request_id
        },
        fingerprint: key.fingerprint.to_vec(),
        response: (key.encode)(response.value, response.cursor),
        created_at: response.at,
        owner: Some(key.owner.id),
        contact_id: response.contact,
    }
}

/// A response to store for an idempotency key.
#[derive(Debug)]
pub struct NewResponse<'r, T> {
    value: &'r T,
    cursor: Option<Cursor>,
    at: Micros,
    contact: Option<ContactId>,
}

impl<'r, T> NewResponse<'r, T> {
    /// Creates a response from the result, the cursor of the write's last event, the time of the write, and the [`contact`] that the result
    /// is about.
    pub fn new(value: &'r T, cursor: Option<Cursor>, at: Micros, contact: Option<ContactId>) -> Self {
        Self {
            value,
            cursor,
            at,
            contact,
        }
    }
}

/// Returns the contact that a response is about: the one that the result names, otherwise the one that the events of the write name, or
/// [`ANY_CONTACT`] if they name several. `None` if the response is about no contact.
pub fn contact<T: ResponseSubject>(value: &T, entries: &[EventRecord]) -> Option<ContactId> {
    let mut contacts = entries.iter().filter_map(|entry| entry.contact);
    value.contact().or_else(|| match contacts.next() {
        Some(first) => Some(if contacts.all(|next| next == first) { first } else { ANY_CONTACT }),
        None => T::contact_without_events(),
    })
}

/// The value that replaces an erased response. It cannot be an encoded message, because 0 is not a valid field number.
const ERASED: &[u8] = &[0];

/// Erases the stored responses about a contact. The rows remain, so a repeated request is not executed again.
///
/// Rows without an owner were written by the previous release, which does not record the contact of a response. Therefore all such rows of
/// the account are erased as well. They exist until `idempotency.keep_hours` after an upgrade.
///
/// # Errors
/// [`Error::Database`] if the update fails.
pub async fn erase(db: &impl ConnectionTrait, account: AccountId, contact: ContactId) -> Result<()> {
    let about = Condition::any()
        .add(idempotency_key::Column::ContactId.is_in([contact, ANY_CONTACT]))
        .add(idempotency_key::Column::Owner.is_null());
    idempotency_key::Entity::update_many()
        .col_expr(idempotency_key::Column::Response, Expr::value(ERASED.to_vec()))
        .filter(idempotency_key::Column::AccountId.eq(account))
        .filter(about)
        .exec(db)
        .await?;
    Ok(())
}

/// Reassigns the stored responses about the contact `from` to the contact `to`, into which it is merged, so that erasing `to` also erases
/// them.
///
/// # Errors
/// [`Error::Database`] if the update fails.
pub async fn reassign(db: &impl ConnectionTrait, account: AccountId, from: ContactId, to: ContactId) -> Result<()> {
    idempotency_key::Entity::update_many()
        .col_expr(idempotency_key::Column::ContactId, Expr::value(to.0))
        .filter(idempotency_key::Column::AccountId.eq(account))
        .filter(idempotency_key::Column::ContactId.eq(from))
        .exec(db)
        .await?;
    Ok(())
}

/// Stores a response for an idempotency key.
///
/// # Errors
/// [`Error::Database`] if the insert fails.
pub async fn store(db: &impl ConnectionTrait, row: idempotency_key::Model) -> Result<()> {
    let row = row.into_active_model();
    idempotency_key::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
