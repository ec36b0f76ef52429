//! Answers kept for repeated requests, written in the transaction of the write.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Set};
use uuid::Uuid;

use crate::{
    chat::call::{Answer, Key},
    db::entity::idempotency_key,
    error::{Error, Result},
    events::cursor::Cursor,
    id::AccountId,
    time::Micros,
};

/// The answers kept under these request ids.
pub async fn kept(
    db: &impl ConnectionTrait,
    account: AccountId,
    ids: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, idempotency_key::Model>> {
    let ids: Vec<Uuid> = ids.collect();
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

/// The answer to a request that came before.
///
/// # Errors
/// [`Error::KeyReused`] when it was another request.
pub fn repeat<T>(key: &Key<T>, kept: idempotency_key::Model) -> Result<Answer<T>> {
    if kept.fingerprint == key.fingerprint {
        Ok(Answer::Repeated(kept.response))
    } else {
        Err(Error::KeyReused(key.request_id))
    }
}

/// The row that keeps an answer.
pub fn row<T>(account: AccountId, key: &Key<T>, value: &T, cursor: Option<Cursor>, at: Micros) -> idempotency_key::Model {
    idempotency_key::Model {
        account_id: account,
        request_id: key.request_id,
        fingerprint: key.fingerprint.to_vec(),
        response: (key.encode)(value, cursor),
        created_at: at,
    }
}

/// Keeps answers.
pub async fn keep(db: &impl ConnectionTrait, rows: Vec<idempotency_key::Model>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.into_iter().map(|row| idempotency_key::ActiveModel {
        account_id: Set(row.account_id),
        request_id: Set(row.request_id),
        fingerprint: Set(row.fingerprint),
        response: Set(row.response),
        created_at: Set(row.created_at),
    });
    idempotency_key::Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}
