//! Operations on the database that do not require a running server.

use anyhow::Context as _;
use parley_domain::auth::tokens::{self, NewToken};
use parley_storage::Database;

use super::config_mapping;
use crate::config::Config;

/// A token that was created without a server.
#[derive(Debug)]
pub struct OfflineToken {
    /// The token's ID.
    pub id: i64,
    /// The user whom the token authenticates.
    pub user: Option<i64>,
    /// The token's secret, which is not stored.
    pub secret: String,
    /// Whether servers can use the database at the same time, as with PostgreSQL. Such servers accept the token immediately.
    pub is_shared: bool,
}

/// Creates a token directly in the database. A SQLite file must not be in use by a server. A database that does not exist is not created.
///
/// # Errors
/// Returns [`parley_storage::OpenError`] if the database cannot be opened or lacks migrations, and [`parley_types::error::Error::Invalid`]
/// if the token refers to something that does not exist.
pub async fn create_token(config: &Config, new: NewToken) -> anyhow::Result<OfflineToken> {
    let db = Database::open(&config_mapping::existing_database(config)).await?;
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
