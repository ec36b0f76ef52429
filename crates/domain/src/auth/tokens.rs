//! Authenticates, lists and revokes access tokens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use moka::future::Cache;
use parley_fault::Protection;
use parley_storage::{
    Database,
    entity::{
        account, agent_bot, inbox, inbox_member,
        kind::{Role, TokenKind},
        membership, team_member, token, user,
    },
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, AgentBotId, InboxId, TeamId, TokenId},
    time::Micros,
};
use sea_orm::{ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, Set};
use sha2::{Digest as _, Sha256};

use crate::{
    auth::caller::{Access, Caller, ContactScope, Limits, Principal},
    client::ContactSession,
    page::{self, Page, PageRequest, Sort},
};

mod create;

pub use create::{NewToken, create_offline, insert};

/// Authenticates access tokens through a cache whose entries expire, and creates, lists and revokes tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    db: Database,
    cache: Cache<[u8; 32], Arc<Caller>>,
    /// The hashes of tokens that were valid when they were last looked up.
    good: Cache<[u8; 32], ()>,
    /// Authenticated contact sessions, keyed by the public identifier of their inbox and their source id.
    pub(crate) sessions: Cache<(String, String), Arc<ContactSession>>,
}

/// How long a token is remembered as valid. A caller with a remembered token is not blocked by other callers' failed authentications from
/// the same address.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Returns the hash of a secret, which is stored instead of the secret.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl Tokens {
    /// Creates the token service with caches of up to `capacity` entries that expire after `life`. A token that another replica revoked can
    /// remain valid on this one for up to `life`.
    pub fn new(db: Database, life: Duration, capacity: u64) -> Self {
        Self {
            db,
            cache: Cache::builder().max_capacity(capacity).time_to_live(life).build(),
            good: Cache::builder().max_capacity(capacity).time_to_live(REMEMBERED).build(),
            sessions: Cache::builder().max_capacity(capacity).time_to_live(life).build(),
        }
    }

    /// Removes a changed contact session from the cache.
    pub(crate) async fn forget_session(&self, session: &ContactSession) {
        let client = &session.client;
        let key = (client.inbox.channel.identifier.clone(), client.row.source_id.clone());
        self.sessions.invalidate(&key).await;
    }

    /// Authenticates a caller by the secret of its token.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] if the token is unknown, expired or revoked.
    pub async fn authenticate(&self, secret: &str) -> Result<Arc<Caller>> {
        let hash = hash(secret);
        if let Some(caller) = self.cache.get(&hash).await {
            // A cached token may have expired after it was looked up.
            let expired = caller.limits.expires_at.is_some_and(|at| at <= Micros::now());
            return if expired { Err(Error::TokenInvalid) } else { Ok(caller) };
        }
        // Concurrent calls with the same token look it up only once.
        self.cache
            .try_get_with(hash, self.look_up(hash))
            .await
            .map_err(|error| error.as_ref().clone())
    }

    /// Returns whether a secret was valid within the last hour.
    pub async fn was_good(&self, secret: &str) -> bool {
        self.good.get(&hash(secret)).await.is_some()
    }

    /// Returns whether a secret was valid within the last hour. Synchronous variant of [`Self::was_good`].
    pub fn is_known(&self, secret: &str) -> bool {
        self.good.contains_key(&hash(secret))
    }

    async fn look_up(&self, hash: [u8; 32]) -> Result<Arc<Caller>> {
        let token = token::Entity::find()
            .filter(token::Column::Hash.eq(hash.to_vec()))
            .one(self.db.read())
            .await?
            .ok_or(Error::TokenInvalid)?;
        let caller = self.caller(token).await?;
        self.good.insert(hash, ()).await;
        Ok(caller)
    }

    /// Returns the caller that a stored token authenticates, with access restricted by the token's limits.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] if the token is expired or revoked, or if its principal no longer exists.
    pub(crate) async fn caller(&self, token: token::Model) -> Result<Arc<Caller>> {
        let db = self.db.read();
        if token.revoked_at.is_some() || token.expires_at.is_some_and(|at| at <= Micros::now()) {
            return Err(Error::TokenInvalid);
        }
        let (principal, mut accounts) = match token.kind {
            TokenKind::Platform => (Principal::Platform, HashMap::new()),
            TokenKind::Service => (Principal::Service { name: token.name.clone() }, service_access(db, &token).await?),
            TokenKind::User => {
                let id = token.user_id.ok_or(Error::TokenInvalid)?;
                let user = user::Entity::find_by_id(id).one(db).await?.ok_or(Error::TokenInvalid)?;
                let user = Arc::new(user);
                let accounts = user_access(db, &user).await?;
                (Principal::User(user), accounts)
            }
            TokenKind::AgentBot => {
                let id = token.agent_bot_id.ok_or(Error::TokenInvalid)?;
                let bot = agent_bot::Entity::find_by_id(id).one(db).await?.ok_or(Error::TokenInvalid)?;
                (Principal::AgentBot(Arc::new(bot)), bot_access(db, id).await?)
            }
        };
        accounts.retain(|account, _| token.account_id.is_none_or(|only| only == *account));
        Ok(Arc::new(Caller {
            token: token.id,
            principal,
            read_only: token.read_only,
            accounts,
            limits: Limits {
                account: token.account_id,
                expires_at: token.expires_at,
            },
        }))
    }

    /// Clears the caches of callers and sessions, because a membership, a user or another source of access has changed.
    pub fn forget(&self) {
        self.cache.invalidate_all();
        self.sessions.invalidate_all();
    }

    /// Lists the tokens of an account, or the caller's own tokens, newest first. If the caller's token is limited to an account, only
    /// tokens of that account are listed.
    ///
    /// # Errors
    /// [`Error::Denied`] if the caller may not list the tokens.
    pub async fn list(&self, caller: &Caller, account: Option<AccountId>, page: &PageRequest) -> Result<Page<token::Model>> {
        let mut query = token::Entity::find();
        if let Some(account) = account {
            caller.administer_or_platform(account)?;
            query = query.filter(token::Column::AccountId.eq(account));
        } else if let Some(user) = caller.user_id() {
            query = query.filter(token::Column::UserId.eq(user));
            if let Some(only) = caller.limits.account {
                query = query.filter(token::Column::AccountId.eq(only));
            }
        } else {
            caller.platform()?;
        }
        let ids = page::ids(self.db.read(), query, token::Column::Id, &Sort::by_id(true), page).await?;
        page::rows(self.db.read(), token::Entity::find(), token::Column::Id, |row| row.id.0, ids).await
    }

    /// Revokes a token. Revoking it again has no effect. A token that is limited to an account can revoke only tokens with the same limit.
    ///
    /// # Errors
    /// [`Error::Denied`] for a read-only token. [`Error::NotFound`] if there is no such token, and also if the caller is not allowed to
    /// revoke it, so that callers cannot find out which tokens exist.
    pub async fn revoke(&self, caller: &Caller, id: TokenId) -> Result<token::Model> {
        caller.may_write()?;
        let db = self.db.write();
        let row = token::Entity::find_by_id(id)
            .one(db)
            .await?
            .ok_or_else(|| Error::not_found("token", id))?;
        let within = caller.limits.account.is_none_or(|only| row.account_id == Some(only));
        let own = row.user_id.is_some() && row.user_id == caller.user_id() && within;
        let administered = row.account_id.is_some_and(|account| caller.administer(account).is_ok());
        if !own && !administered && caller.platform().is_err() {
            return Err(Error::not_found("token", id));
        }
        let hash: Option<[u8; 32]> = row.hash.clone().try_into().ok();
        let row = if row.revoked_at.is_none() {
            let mut change: token::ActiveModel = row.into();
            change.revoked_at = Set(Some(Micros::now()));
            change.update(db).await?
        } else {
            row
        };
        if let Some(hash) = hash {
            self.cache.invalidate(&hash).await;
            self.good.invalidate(&hash).await;
        }
        Ok(row)
    }
}

async fn service_access(db: &impl ConnectionTrait, token: &token::Model) -> Result<HashMap<AccountId, Access>> {
    let id = token.account_id.ok_or(Error::TokenInvalid)?;
    let account = load::account(db, id).await?;
    let inboxes: Vec<InboxId> = token
        .inbox_ids
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_i64)
        .map(InboxId)
        .collect();
    let inboxes = (!inboxes.is_empty()).then_some(inboxes);
    Ok([(
        id,
        Access {
            role: Role::Administrator,
            inboxes,
            teams: Vec::new(),
            person: None,
            status: account.status,
            contacts: ContactScope::Inboxes,
            session_scope: None,
        },
    )]
    .into())
}

/// Returns the accounts that a bot can access, with access only to the inboxes that it is connected to.
async fn bot_access(db: &impl ConnectionTrait, id: AgentBotId) -> Result<HashMap<AccountId, Access>> {
    let inboxes = inbox::Entity::find().filter(inbox::Column::AgentBotId.eq(id)).all(db).await?;
    let ids = inboxes.iter().map(|row| row.account_id.0);
    let accounts = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(db).await?;
    let mut connected: HashMap<AccountId, Vec<InboxId>> = HashMap::new();
    for inbox in inboxes {
        connected.entry(inbox.account_id).or_default().push(inbox.id);
    }
    for inboxes in connected.values_mut() {
        // Sort the inboxes, because streams compare the current list with an earlier one to detect changes.
        inboxes.sort_unstable();
    }
    let mut access = |row: &account::Model| Access {
        role: Role::Agent,
        inboxes: if parley_fault::is_on(Protection::BotScope) {
            connected.remove(&row.id)
        } else {
            None
        },
        teams: Vec::new(),
        person: None,
        status: row.status,
        contacts: ContactScope::Conversations,
        session_scope: None,
    };
    Ok(accounts.iter().map(|row| (row.id, access(row))).collect())
}

async fn user_access(db: &impl ConnectionTrait, user: &Arc<user::Model>) -> Result<HashMap<AccountId, Access>> {
    let id = user.id;
    let memberships = membership::Entity::find().filter(membership::Column::UserId.eq(id)).all(db).await?;
    let ids = memberships.iter().map(|row| row.account_id.0);
    let accounts = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(db).await?;
    let status: HashMap<_, _> = accounts.into_iter().map(|row| (row.id, row.status)).collect();
    let members = inbox_member::Entity::find()
        .filter(Condition::all().add(inbox_member::Column::UserId.eq(id)))
        .all(db)
        .await?;
    let mut inboxes: HashMap<AccountId, Vec<InboxId>> = HashMap::new();
    for member in members {
        inboxes.entry(member.account_id).or_default().push(member.inbox_id);
    }
    let members = team_member::Entity::find()
        .filter(team_member::Column::UserId.eq(id))
        .all(db)
        .await?;
    let mut teams: HashMap<AccountId, Vec<TeamId>> = HashMap::new();
    for member in members {
        teams.entry(member.account_id).or_default().push(member.team_id);
    }
    let access = |row: membership::Model| {
        let mine = inboxes.remove(&row.account_id).unwrap_or_default();
        let inboxes = (row.role == Role::Agent).then_some(mine);
        Some((
            row.account_id,
            Access {
                role: row.role,
                inboxes,
                teams: teams.remove(&row.account_id).unwrap_or_default(),
                person: Some(row.view_of(user)),
                status: *status.get(&row.account_id)?,
                contacts: ContactScope::Account,
                session_scope: None,
            },
        ))
    };
    Ok(memberships.into_iter().filter_map(access).collect())
}
