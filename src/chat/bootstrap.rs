//! The first account, user, inbox and token of an empty database.

use sea_orm::{ActiveModelTrait, ConnectionTrait, DbBackend, EntityTrait, IntoActiveModel, NotSet, PaginatorTrait, Set, Statement};
use serde_json::json;

use crate::{
    chat::{
        accounts,
        inboxes::{self, NewInbox},
        tokens::{self, NewToken},
        users::{self, NewUser},
    },
    db::{
        Database,
        entity::{
            account, account_log,
            kind::{Availability, Role, TokenKind},
            membership,
        },
    },
    error::Result,
    events::log::first_counters,
    id::secret,
    time::Micros,
};

/// What an empty database is filled with.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The administrator's token; empty: a random one.
    pub token: String,
    /// The first inbox's identifier; empty: a random one.
    pub inbox_identifier: String,
    /// A platform token; empty: none.
    pub platform_token: String,
}

/// What was made, to be shown once.
#[derive(Clone, Debug)]
pub struct Bootstrapped {
    /// The administrator's token.
    pub token: String,
    /// The first inbox's identifier.
    pub inbox_identifier: String,
}

/// The number that replicas lock in PostgreSQL while they fill an empty database; any constant that nothing else uses.
const LOCK: i64 = 0x7061_726c_6578;

fn or_random(text: &str) -> String {
    if text.is_empty() { secret() } else { text.to_owned() }
}

/// Fills an empty database, alone among all replicas; none if it is not empty. All or nothing.
///
/// # Errors
/// When the database fails.
pub async fn run(db: &Database, config: &Config) -> Result<Option<Bootstrapped>> {
    let txn = db.begin().await?;
    if db.backend() == DbBackend::Postgres {
        txn.execute_raw(Statement::from_string(
            DbBackend::Postgres,
            format!("SELECT pg_advisory_xact_lock({LOCK})"),
        ))
        .await?;
    }
    if account::Entity::find().count(&txn).await? > 0 {
        return Ok(None);
    }
    let made = Bootstrapped {
        token: or_random(&config.token),
        inbox_identifier: or_random(&config.inbox_identifier),
    };
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
    let user = users::insert_user(&txn, user).await?;
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
    };
    membership::ActiveModel::from(membership).reset_all().insert(&txn).await?;
    let new = NewInbox::named("API");
    inboxes::insert(&txn, account.id, new, made.inbox_identifier.clone(), crate::id::Seq(0), now).await?;
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
    tokens::insert(&txn, token.clone(), &made.token).await?;
    if !config.platform_token.is_empty() {
        let platform = NewToken {
            kind: TokenKind::Platform,
            user: None,
            ..token
        };
        tokens::insert(&txn, platform, &config.platform_token).await?;
    }
    txn.commit().await?;
    Ok(Some(made))
}
