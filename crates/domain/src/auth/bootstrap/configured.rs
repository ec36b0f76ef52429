//! Applies the `bootstrap` settings to a database that already has accounts, and logs those that have no effect.

use parley_storage::entity::{api_channel, kind::TokenKind, token};
use parley_types::{error::Result, time::Micros};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter};

use super::config::Config;
use crate::auth::tokens::{self, NewToken, hash};

/// How a configured secret relates to the tokens in the database.
enum SecretStatus {
    /// No token has this secret.
    Unknown,
    /// A valid token of this kind has this secret.
    Valid(TokenKind),
    /// A token with this secret exists, but was revoked or has expired.
    Ended,
}

async fn secret_status(db: &impl ConnectionTrait, secret: &str) -> Result<SecretStatus> {
    let row = token::Entity::find()
        .filter(token::Column::Hash.eq(hash(secret).to_vec()))
        .one(db)
        .await?;
    Ok(match row {
        None => SecretStatus::Unknown,
        Some(row) if row.revoked_at.is_some() || row.expires_at.is_some_and(|at| at <= Micros::now()) => SecretStatus::Ended,
        Some(row) => SecretStatus::Valid(row.kind),
    })
}

/// Creates the configured platform token if it does not exist, and logs every `bootstrap` setting that has no effect. Returns whether a
/// token was created.
///
/// The caller holds the lock of [`super::run`], so replicas do not create the token twice. A revoked token stays revoked.
///
/// # Errors
/// [`Error::Database`](parley_types::error::Error::Database) or [`Error::Unavailable`](parley_types::error::Error::Unavailable) if a query
/// fails.
pub(super) async fn reconcile(db: &impl ConnectionTrait, config: &Config) -> Result<bool> {
    if !config.token.is_empty() && !matches!(secret_status(db, &config.token).await?, SecretStatus::Valid(_)) {
        tracing::warn!(
            setting = "bootstrap.token",
            "ignoring the configured token: no valid token has this value, and the setting takes effect only when the database is empty; \
             `parley token create --offline --kind user` creates an administrator's token"
        );
    }
    if !config.inbox_identifier.is_empty() {
        let named = api_channel::Entity::find().filter(api_channel::Column::Identifier.eq(&config.inbox_identifier));
        if named.count(db).await? == 0 {
            tracing::warn!(
                setting = "bootstrap.inbox_identifier",
                "ignoring the configured inbox: no inbox has this identifier, and the setting takes effect only when the database is empty; create the inbox with `parley inbox create`"
            );
        }
    }
    if config.platform_token.is_empty() {
        return Ok(false);
    }
    match secret_status(db, &config.platform_token).await? {
        SecretStatus::Valid(TokenKind::Platform) => Ok(false),
        SecretStatus::Valid(_) => {
            tracing::warn!(
                setting = "bootstrap.platform_token",
                "ignoring the configured platform token: a token of a different kind already has this value; choose another value"
            );
            Ok(false)
        }
        SecretStatus::Ended => {
            tracing::warn!(
                setting = "bootstrap.platform_token",
                "ignoring the configured platform token: the token with this value was revoked or has expired; choose another value"
            );
            Ok(false)
        }
        SecretStatus::Unknown => {
            let row = tokens::insert(db, platform(), &config.platform_token).await?;
            tracing::info!(
                token_id = row.id.0,
                "created the platform token from bootstrap.platform_token; a previously configured token remains valid until it is revoked"
            );
            Ok(true)
        }
    }
}

/// Returns the platform token that the configuration specifies, ready to be created.
pub(super) fn platform() -> NewToken {
    NewToken {
        kind: TokenKind::Platform,
        name: "bootstrap".to_owned(),
        account: None,
        user: None,
        agent_bot: None,
        read_only: false,
        inboxes: Vec::new(),
        expires_at: None,
    }
}
