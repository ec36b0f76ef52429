//! Creates the first account, user, inbox and token in an empty database.

use std::path::{Path, PathBuf};

use parley_eventlog::log::first_counters;
use parley_storage::{
    Database, advisory,
    entity::{
        account, account_log,
        kind::{Availability, Role, TokenKind},
        membership,
    },
};
use parley_types::{error::Error, id::secret, time::Micros};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, NotSet, PaginatorTrait, Set};
use serde_json::json;

mod config;
mod configured;

pub use config::{AdministratorToken, Config};

use crate::{
    auth::tokens::{self, NewToken},
    inboxes::{self, NewInbox},
    people::{
        accounts,
        users::{self, NewUser},
    },
};

/// The credentials that the bootstrap created in an empty database.
#[derive(Clone, Debug)]
pub struct Bootstrapped {
    /// How the operator receives the administrator's token.
    pub token: AdministratorToken,
    /// The public identifier of the first inbox.
    pub inbox_identifier: String,
}

/// Why an empty database could not be initialized. The database is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The random token could not be written to the file where the operator expects it.
    #[error(
        "the database is empty, and the first administrator's token cannot be written to {}: {source}. \
         Set bootstrap.token (PARLEY_BOOTSTRAP_TOKEN or PARLEY_BOOTSTRAP_TOKEN_FILE)", path.display()
    )]
    TokenFile {
        /// The path of the token file.
        path: PathBuf,
        /// The error that the operating system reported.
        source: std::io::Error,
    },
    /// A query or statement failed.
    #[error(transparent)]
    Write(#[from] Error),
}

impl From<DbErr> for BootstrapError {
    fn from(error: DbErr) -> Self {
        Self::Write(error.into())
    }
}

fn or_random(text: &str) -> String {
    if text.is_empty() { secret() } else { text.to_owned() }
}

/// Initializes an empty database, under a lock that all replicas share. Either everything is created, or nothing is. In a database that is
/// not empty, creates the configured platform token if it does not exist, and returns `None`.
///
/// # Errors
/// [`BootstrapError::TokenFile`] if the random token cannot be written to its file; [`BootstrapError::Write`] if a statement fails.
pub async fn run(db: &Database, config: &Config) -> Result<Option<Bootstrapped>, BootstrapError> {
    let txn = db.begin().await?;
    let dialect = db.dialect();
    if let Some(lock) = dialect.advisory_lock(advisory::BOOTSTRAP) {
        txn.execute_raw(dialect.unbound_statement(lock)).await?;
    }
    if account::Entity::find().count(&txn).await? > 0 {
        if configured::reconcile(&txn, config).await? {
            txn.commit().await?;
        }
        return Ok(None);
    }
    let secret = or_random(&config.token);
    let inbox_identifier = or_random(&config.inbox_identifier);
    let now = Micros::now();
    let account = account::ActiveModel {
        id: NotSet,
        name: Set("Parley".to_owned()),
        ..accounts::blank(now).into_active_model().reset_all()
    };
    let account = account.insert(&txn).await?;
    account_log::ActiveModel::from(first_counters(account.id))
        .reset_all()
        .insert(&txn)
        .await?;
    let user = NewUser {
        name: "Administrator".to_owned(),
        email: "administrator@parley.localhost".to_owned(),
        display_name: None,
        custom_attributes: json!({}),
    };
    let user = users::insert_user(&txn, NotSet, user).await?;
    let membership = membership::Model {
        account_id: account.id,
        user_id: user.id,
        role: Role::Administrator,
        availability: Availability::Online,
        auto_offline: true,
        active_at: None,
        inviter_id: None,
        created_at: now,
        updated_at: now,
        name: None,
        email: None,
    };
    membership::ActiveModel::from(membership).reset_all().insert(&txn).await?;
    let new = NewInbox::named("API");
    inboxes::insert(&txn, account.id, new, inbox_identifier.clone(), parley_types::id::Seq(0), now).await?;
    let token = NewToken {
        kind: TokenKind::User,
        name: "bootstrap".to_owned(),
        account: None,
        user: Some(user.id),
        agent_bot: None,
        read_only: false,
        inboxes: Vec::new(),
        expires_at: None,
    };
    tokens::insert(&txn, token, &secret).await?;
    if !config.platform_token.is_empty() {
        tokens::insert(&txn, configured::platform(), &config.platform_token).await?;
    }
    let token = match &config.token_file {
        _ if !config.token.is_empty() => AdministratorToken::Given,
        None => AdministratorToken::Generated(secret),
        // Write the file before the commit: if it could not be written afterwards, the operator would be locked out of the database.
        Some(path) => {
            let written = store_token(path, &secret).await;
            written.map_err(|source| BootstrapError::TokenFile {
                path: path.clone(),
                source,
            })?;
            AdministratorToken::Stored(path.clone())
        }
    };
    txn.commit().await?;
    Ok(Some(Bootstrapped { token, inbox_identifier }))
}

/// Writes the token to a new file that only its owner can read. Replaces an existing file, which an earlier start that failed before its
/// commit may have left behind.
async fn store_token(path: &Path, secret: &str) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt as _;

    if let Err(error) = tokio::fs::remove_file(path).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.create_new(true).write(true).mode(0o600).open(path).await?;
    file.write_all(format!("{secret}\n").as_bytes()).await?;
    file.sync_all().await
}
