//! Creates tokens: for callers, within their own limits, and for operators with direct access to the database.

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

const WIDER: &str = "the scope and lifetime of a token must not exceed those of the token that creates it";

const EMPLOYER: &str = "only an administrator may create a token for another principal";

/// The data for creating a token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The kind of principal that the token authenticates.
    pub kind: TokenKind,
    /// A name that states the token's purpose.
    pub name: String,
    /// The only account that the token is valid for; `None` means no such limit.
    pub account: Option<AccountId>,
    /// The user that the token authenticates, for a user token.
    pub user: Option<UserId>,
    /// The bot that the token authenticates, for a bot token.
    pub agent_bot: Option<AgentBotId>,
    /// Whether the token is read-only.
    pub read_only: bool,
    /// The inboxes that the token is limited to; empty means no such limit.
    pub inboxes: Vec<InboxId>,
    /// When the token expires; `None` means never.
    pub expires_at: Option<Micros>,
}

impl Limits {
    /// Applies the limits of the creator's token to a new token, which inherits every limit that its request does not set.
    ///
    /// # Errors
    /// [`Error::Denied`] if the new token exceeds the limits.
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
    /// Creates a token and returns its secret, of which only a hash is stored. The token inherits the account limit and the expiry of the
    /// caller's token; a request can narrow but never widen these limits. The token of a bot that belongs to an account is limited to that
    /// account, and so is a token that an administrator creates for a member.
    ///
    /// # Errors
    /// [`Error::Denied`] if the caller may not create such a token, or if the token would have more access or expire later than the
    /// caller's; [`Error::Invalid`] if the account, the user, the bot or an inbox does not exist.
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

    /// Checks that the caller is a user who administers the token's account, and that the token's user is a member of that account. Returns
    /// the account. If the request names no account, uses the one that the caller administers, provided that there is only one.
    async fn employer(&self, caller: &Caller, new: &NewToken) -> Result<AccountId> {
        // A service has the role of an administrator, but must not obtain the identity of a person.
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

    /// Checks that the caller may change the bot that the token authenticates, and returns the account that the bot belongs to.
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

/// Creates a token for an operator with direct access to the database, and returns its secret. If `new` is a user token and names no user,
/// the token is issued to the first administrator of the account, or of the first account if `new` names no account.
///
/// # Errors
/// [`Error::Invalid`] if the account, the user, the bot or an inbox does not exist.
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

/// Stores a token whose creator's permission has already been checked. Checks that the account, the inboxes and the user that the token
/// names exist.
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

/// Stores a token with the hash of its secret.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the insert fails.
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
