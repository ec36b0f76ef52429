//! Keys of the installation that sign what it hands out. All replicas share them; the first one to need a key makes it.

use parley_storage::{Database, entity::secret};
use parley_types::error::{Error, Result};
use sea_orm::{EntityTrait, Set, sea_query::OnConflict};

/// A key of 32 random bytes, by its name in `secrets`.
///
/// # Errors
/// [`Error::Internal`] for a stored key of another length; [`Error::Database`] and [`Error::Unavailable`] while the database is away.
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
