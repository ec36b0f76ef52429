//! What is done to the database itself while no server runs on it.

use anyhow::Context as _;
use parley_domain::auth::tokens::{self, NewToken};
use parley_storage::Database;

use super::rooms;
use crate::config::Config;

/// A token that was created without a server.
#[derive(Debug)]
pub struct OfflineToken {
    /// Its id.
    pub id: i64,
    /// The user it speaks for.
    pub user: Option<i64>,
    /// Its secret, which is stored nowhere.
    pub secret: String,
    /// Whether servers may be running on the database, as on PostgreSQL. They accept the token at once.
    pub is_shared: bool,
}

/// Creates a token in the database. A SQLite file must not be in use by a server; nothing is created in a place without a database.
///
/// # Errors
/// [`parley_storage::OpenError`], also for a database that lacks migrations; [`parley_types::error::Error::Invalid`] for what does not exist.
pub async fn create_token(config: &Config, new: NewToken) -> anyhow::Result<OfflineToken> {
    let db = Database::open(&rooms::existing_database(config)).await?;
    db.is_migrated().await?;
    let (row, secret) = tokens::create_offline(&db, new).await?;
    let is_shared = parley_storage::sqlite_file(&config.database.url).is_none();
    db.close().await.context("closing the database")?;
    tracing::warn!(token_id = row.id.0, "created a token offline");
    Ok(OfflineToken {
        id: row.id.0,
        user: row.user_id.map(|id| id.0),
        secret,
        is_shared,
    })
}
