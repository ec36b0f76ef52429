//! Creating tokens: by callers, within their own limits, and by whoever may change the database itself.

use parley_fault::Protection;
use parley_storage::{
    Database,
    entity::{
        agent_bot,
        kind::{Role, TokenKind},
        membership, token,
    },
    load,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, AgentBotId, InboxId, UserId, secret},
    time::Micros,
};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Set};
use serde_json::json;

use super::{Tokens, hash};
use crate::auth::caller::{Caller, Limits};

const WIDER: &str = "a token may neither reach further nor last longer than the token that creates it";

const EMPLOYER: &str = "only an administrator may create a token for somebody else";

/// A token to make.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whom it speaks for.
    pub kind: TokenKind,
    /// What it is for.
    pub name: String,
    /// The one account it is good for.
    pub account: Option<AccountId>,
    /// The user it speaks for.
    pub user: Option<UserId>,
    /// The bot it speaks for.
    pub agent_bot: Option<AgentBotId>,
    /// Whether it may only read.
    pub read_only: bool,
    /// The inboxes it is limited to; empty: no such limit.
    pub inboxes: Vec<InboxId>,
    /// When it stops being good.
    pub expires_at: Option<Micros>,
}

impl Limits {
    /// Hands the limits on to a token: what it does not say it inherits.
    ///
    /// # Errors
    /// [`Error::Denied`] for one that says more.
    fn bequeath(self, new: &mut NewToken) -> Result<()> {
        if !parley_fault::is_on(Protection::TokenLimits) {
            return Ok(());
        }
        if let Some(only) = self.account {
            match new.account {
                Some(account) if account != only => return Err(Error::Denied(WIDER)),
                _ => new.account = Some(only),
            }
        }
        if let Some(end) = self.expires_at {
            match new.expires_at {
                Some(at) if at > end => return Err(Error::Denied(WIDER)),
                Some(_) => {}
                None => new.expires_at = Some(end),
            }
        }
        Ok(())
    }
}

impl Tokens {
    /// Creates a token and returns its secret, which is stored nowhere. It inherits the account and the expiry of the caller's token; a request
    /// may narrow them, and never widens them. Of a bot that belongs to an account it is limited to that account, and so is one that an
    /// administrator creates for a member.
    ///
    /// # Errors
    /// [`Error::Denied`], also for a token that would reach further or last longer than the caller's; [`Error::Invalid`] for users and inboxes
    /// that do not exist.
    pub async fn create(&self, caller: &Caller, mut new: NewToken) -> Result<(token::Model, String)> {
        caller.may_write()?;
        match (new.kind, new.account) {
            (TokenKind::Service, Some(account)) => caller.administer_or_platform(account)?,
            (TokenKind::User, _) if new.user.is_some() && new.user == caller.user_id() => {}
            (TokenKind::User, _) if !caller.is_platform() => {
                let account = self.employer(caller, &new).await?;
                if parley_fault::is_on(Protection::TokenLimits) {
                    new.account = Some(account);
                }
            }
            (TokenKind::AgentBot, _) => new.account = self.keeper(caller, &new).await?,
            _ => caller.platform()?,
        }
        caller.limits.bequeath(&mut new)?;
        create_unchecked(self.db.write(), new).await
    }

    /// Requires an administrator, who is a user, of an account that the user of the token is a member of. Without an account in the request it is the one that
    /// the caller administers. Returns the account.
    async fn employer(&self, caller: &Caller, new: &NewToken) -> Result<AccountId> {
        // A service has an administrator's role, and no business to become a person.
        if caller.user_id().is_none() && parley_fault::is_on(Protection::TokenLimits) {
            return Err(Error::Denied(EMPLOYER));
        }
        let account = if let Some(account) = new.account {
            account
        } else {
            let mut administered = caller.accounts.keys().filter(|account| caller.administer(**account).is_ok());
            match (administered.next(), administered.next()) {
                (Some(account), None) => *account,
                (Some(_), Some(_)) => {
                    let text = "must be given: the caller administers several accounts, and the token is limited to one";
                    return Err(Error::invalid("account_id", Rule::Required, text));
                }
                (None, _) => return Err(Error::Denied(EMPLOYER)),
            }
        };
        caller.administer(account)?;
        let user = new.user.unwrap_or_default();
        let member = membership::Entity::find_by_id((account, user)).one(self.db.write()).await?;
        let unknown = || Error::invalid("user_id", Rule::Unknown, "must be a member of the account");
        member.map(|_| account).ok_or_else(unknown)
    }

    /// Requires a caller who may change the bot that a token shall speak for. Returns the account that the bot belongs to.
    async fn keeper(&self, caller: &Caller, new: &NewToken) -> Result<Option<AccountId>> {
        let id = new.agent_bot.unwrap_or_default();
        let unknown = || Error::invalid("agent_bot_id", Rule::Unknown, "must be a bot that the caller may change");
        let bot = agent_bot::Entity::find_by_id(id).one(self.db.write()).await?.ok_or_else(unknown)?;
        match bot.account_id {
            Some(account) => caller.administer_or_platform(account).map_err(|_| unknown())?,
            None => caller.platform()?,
        }
        Ok(bot.account_id)
    }
}

/// Creates a token for whoever may change the database itself, and returns its secret. Without a user, a user's token is that of the first
/// administrator of the account, or of the first account.
///
/// # Errors
/// [`Error::Invalid`] for accounts, users, bots and inboxes that do not exist.
pub async fn create_offline(db: &Database, mut new: NewToken) -> Result<(token::Model, String)> {
    let db = db.write();
    match new.kind {
        TokenKind::User if new.user.is_none() => {
            let mut administrators = membership::Entity::find().filter(membership::Column::Role.eq(Role::Administrator));
            if let Some(account) = new.account {
                administrators = administrators.filter(membership::Column::AccountId.eq(account));
            }
            let first = administrators
                .order_by_asc(membership::Column::AccountId)
                .order_by_asc(membership::Column::UserId)
                .one(db)
                .await?;
            let none = || Error::invalid("user_id", Rule::Required, "must be given: there is no administrator");
            new.user = Some(first.ok_or_else(none)?.user_id);
        }
        TokenKind::AgentBot => {
            let unknown = || Error::invalid("agent_bot_id", Rule::Unknown, "must be a bot");
            let bot = agent_bot::Entity::find_by_id(new.agent_bot.unwrap_or_default()).one(db).await?;
            new.account = bot.ok_or_else(unknown)?.account_id;
        }
        _ => {}
    }
    create_unchecked(db, new).await
}

/// Stores a token whose creator was checked, once what it names is there.
async fn create_unchecked(db: &impl ConnectionTrait, new: NewToken) -> Result<(token::Model, String)> {
    if let Some(account) = new.account {
        load::account(db, account)
            .await
            .map_err(|_| Error::invalid("account_id", Rule::Unknown, "must be an account"))?;
        let inboxes = load::inboxes(db, account, new.inboxes.iter().copied()).await?;
        if !new.inboxes.iter().all(|inbox| inboxes.contains_key(inbox)) {
            return Err(Error::invalid("inbox_ids", Rule::Unknown, "must be inboxes of the account"));
        }
    }
    if let Some(user) = new.user
        && load::users(db, [user].into_iter()).await?.is_empty()
    {
        return Err(Error::invalid("user_id", Rule::Unknown, "must be a user"));
    }
    let secret = secret();
    let row = insert(db, new, &secret).await?;
    Ok((row, secret))
}

/// Stores a token by the hash of its secret.
///
/// # Errors
/// When the database fails.
pub async fn insert(db: &impl ConnectionTrait, new: NewToken, secret: &str) -> Result<token::Model> {
    let row = token::ActiveModel {
        kind: Set(new.kind),
        name: Set(new.name),
        hash: Set(hash(secret).to_vec()),
        user_id: Set(new.user),
        agent_bot_id: Set(new.agent_bot),
        account_id: Set(new.account),
        read_only: Set(new.read_only),
        inbox_ids: Set(json!(new.inboxes.iter().map(|inbox| inbox.0).collect::<Vec<_>>())),
        expires_at: Set(new.expires_at),
        revoked_at: Set(None),
        created_at: Set(Micros::now()),
        ..Default::default()
    };
    Ok(row.insert(db).await?)
}
