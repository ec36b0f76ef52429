//! Answers kept for repeated requests, written in the transaction of the write.

use std::{any::Any, collections::HashMap};

use parley_eventlog::{cursor::Cursor, entry::Entry};
use parley_storage::{Database, entity::idempotency_key, joined};
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

use crate::{
    contacts::answers::CreatedContact,
    conversations::answers::{CreatedConversation, StatusSet},
    write::call::{Answer, Key},
};

/// Stored replies by the id they are stored under.
pub type StoredResponses = HashMap<Uuid, idempotency_key::Model>;

/// The replies stored under the request ids of these keys, of any owner: [`find`] decides whether one is the caller's.
pub async fn kept<'k, T: 'k>(
    db: &impl ConnectionTrait,
    account: AccountId,
    keys: impl Iterator<Item = &'k Key<T>>,
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

/// The same for a batch on SQLite, by sqlx: most batches have keys, and sea-orm moves a future of 15 KB several times for each query.
pub async fn kept_on_sqlite<'k, T: 'k>(
    db: &Database,
    account: AccountId,
    keys: impl Iterator<Item = &'k Key<T>>,
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
    // Nothing of a request is in it.
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

/// The caller's own stored reply, if there is one.
///
/// The first caller to use a request id is stored under the id itself, where programs that do not know of owners find its reply too while a
/// rolling update lasts; every other caller, and every visitor, under an id derived from owner and request id: visitors cannot choose where their
/// replies are stored, so they cannot occupy the ids of others. A row without an owner is from such a program: it belongs to the caller that repeats the same request, unless that is a visitor without a session, whose reply carries a credential.
pub fn find<'k, T>(key: &Key<T>, kept: &'k StoredResponses) -> Option<&'k idempotency_key::Model> {
    // The usual case, without the digest.
    if kept.is_empty() {
        return None;
    }
    // Anybody can compute the derived id of somebody else and use it as a request id.
    let derived = || {
        kept.get(&key.owner.owned(key.request_id))
            .filter(|row| row.owner == Some(key.owner.id))
    };
    let first = kept.get(&key.request_id).filter(|row| match row.owner {
        Some(owner) => owner == key.owner.id,
        None => !key.owner.is_anonymous && row.fingerprint == key.fingerprint,
    });
    first.or_else(derived)
}

/// The answer to a request that came before.
///
/// # Errors
/// [`Error::NotFound`] when the reply was erased with the contact it was about; [`Error::KeyReused`] when it was another request of the same caller.
pub fn repeat<T>(key: &Key<T>, kept: &idempotency_key::Model) -> Result<Answer<T>> {
    if kept.fingerprint == key.fingerprint && kept.response == ERASED {
        Err(Error::not_found("the reply to request_id", key.request_id))
    } else if kept.fingerprint == key.fingerprint {
        Ok(Answer::Repeated(kept.response.clone()))
    } else {
        Err(Error::KeyReused(key.request_id))
    }
}

/// The row that stores a reply. `kept` is what was found under the ids of the key.
pub fn row<T>(account: AccountId, key: &Key<T>, kept: &StoredResponses, reply: &Reply<T>) -> idempotency_key::Model {
    let is_taken = key.owner.is_visitor || kept.contains_key(&key.request_id);
    idempotency_key::Model {
        account_id: account,
        request_id: if is_taken {
            key.owner.owned(key.request_id)
        } else {
            key.request_id
        },
        fingerprint: key.fingerprint.to_vec(),
        response: (key.encode)(reply.value, reply.cursor),
        created_at: reply.at,
        owner: Some(key.owner.id),
        contact_id: reply.contact,
    }
}

/// A reply that is to be stored.
pub struct Reply<'r, T> {
    value: &'r T,
    cursor: Option<Cursor>,
    at: Micros,
    contact: Option<ContactId>,
}

impl<'r, T> Reply<'r, T> {
    /// What is answered, the position of its last event, when the write happened, and the [`contact`] that it is about.
    pub fn new(value: &'r T, cursor: Option<Cursor>, at: Micros, contact: Option<ContactId>) -> Self {
        Self {
            value,
            cursor,
            at,
            contact,
        }
    }
}

/// Stands for several contacts, or for an unknown one: an erasure of any contact of the account takes the reply along.
pub const SEVERAL: ContactId = ContactId(0);

/// The contact that a reply is about: by what is answered, or else by the events of the write. None: about no contact.
pub fn contact<T: 'static>(value: &T, entries: &[Entry]) -> Option<ContactId> {
    let mut contacts = entries.iter().filter_map(|entry| entry.contact);
    answered_contact(value).or_else(|| match contacts.next() {
        Some(first) => Some(if contacts.all(|next| next == first) { first } else { SEVERAL }),
        // A message that did not change names its conversation alone.
        None => (value as &dyn Any).is::<joined::Message>().then_some(SEVERAL),
    })
}

fn answered_contact(value: &dyn Any) -> Option<ContactId> {
    let row = |contact: &joined::Contact| contact.row.id;
    let summary = |summary: &joined::ConversationSummary| summary.conversation.row.contact_id;
    let found = [
        value.downcast_ref().map(|client: &joined::Client| row(&client.contact)),
        value
            .downcast_ref()
            .map(|sessions: &joined::ContactSessions| row(&sessions.contact)),
        value.downcast_ref().map(|created: &CreatedContact| row(&created.contact.contact)),
        value.downcast_ref().map(|session: &joined::Session| session.row.contact_id),
        value.downcast_ref().map(|note: &joined::Note| note.row.contact_id),
        value.downcast_ref().map(summary),
        value
            .downcast_ref()
            .map(|created: &CreatedConversation| summary(&created.conversation)),
        value.downcast_ref().map(|set: &StatusSet| summary(&set.conversation)),
    ];
    found.into_iter().flatten().next()
}

/// Stands in the place of an erased reply. No message is encoded like this: 0 is no number of a field.
const ERASED: &[u8] = &[0];

/// Erases the stored replies about a contact, and keeps that the requests were made: a repetition is not executed again.
///
/// Rows without an owner come from the release before, which does not say whom a reply is about: all those of the account go along. There
/// are such rows until `idempotency.keep_hours` after an upgrade.
///
/// # Errors
/// [`Error::Database`] when the rows cannot be written.
pub async fn erase(db: &impl ConnectionTrait, account: AccountId, contact: ContactId) -> Result<()> {
    let about = Condition::any()
        .add(idempotency_key::Column::ContactId.is_in([contact, SEVERAL]))
        .add(idempotency_key::Column::Owner.is_null());
    idempotency_key::Entity::update_many()
        .col_expr(idempotency_key::Column::Response, Expr::value(ERASED.to_vec()))
        .filter(idempotency_key::Column::AccountId.eq(account))
        .filter(about)
        .exec(db)
        .await?;
    Ok(())
}

/// Lets stored replies about one contact be about another, into which it is merged: erasing that one shall reach them.
///
/// # Errors
/// [`Error::Database`] when the rows cannot be written.
pub async fn hand_over(db: &impl ConnectionTrait, account: AccountId, from: ContactId, to: ContactId) -> Result<()> {
    idempotency_key::Entity::update_many()
        .col_expr(idempotency_key::Column::ContactId, Expr::value(to.0))
        .filter(idempotency_key::Column::AccountId.eq(account))
        .filter(idempotency_key::Column::ContactId.eq(from))
        .exec(db)
        .await?;
    Ok(())
}

/// Stores a reply.
pub async fn keep(db: &impl ConnectionTrait, row: idempotency_key::Model) -> Result<()> {
    let row = row.into_active_model();
    idempotency_key::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
