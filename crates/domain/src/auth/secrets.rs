//! The installation's signing keys. All replicas share them; the first one that needs a key creates it.

use parley_storage::{Database, entity::secret};
use parley_types::error::{Error, Result};
use sea_orm::{EntityTrait, Set, sea_query::OnConflict};

/// Returns the 32-byte key with this name from the table `secrets`. If there is no such key, creates it from random bytes.
///
/// # Errors
/// [`Error::Internal`] if the stored key has another length; [`Error::Database`] or [`Error::Unavailable`] if a statement fails.
pub async fn key(db: &Database, name: &str) -> Result<[u8; 32]> {
    let fresh = secret::ActiveModel {
        name: Set(name.to_owned()),
        value: Set(rand::random::<[u8; 32]>().to_vec()),
    };
    let first = OnConflict::column(secret::Column::Name).do_nothing().to_owned();
    secret::Entity::insert(fresh)
        .on_conflict(first)
        .exec_without_returning(db.write())
        .await?;
    let row = secret::Entity::find_by_id(name).one(db.write()).await?;
    let key = row.and_then(|row| row.value.try_into().ok());
    key.ok_or_else(|| Error::Internal(format!("the key {name} is not 32 bytes long")))
}
