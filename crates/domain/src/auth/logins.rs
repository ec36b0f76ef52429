//! Login links: single-use secrets that expire after a few minutes and can be exchanged for an access token of a user.

use std::{sync::Arc, time::Duration};

use parley_storage::entity::{kind::TokenKind, login, token, user};
use parley_types::{
    error::{Error, Result},
    id::{UserId, login_secret, secret},
    time::Micros,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Set};

use crate::{
    auth::{
        caller::Caller,
        tokens::{self, NewToken},
    },
    context::Context,
};

/// How long a login link is valid. Chatwoot uses the same lifetime.
const LINK_LIFE: Duration = Duration::from_mins(5);
/// How long the token that is created from a login link is valid.
const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// A newly created login link.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// The user's e-mail address.
    pub email: String,
    /// The secret, of which only a hash is stored.
    pub secret: String,
    /// When the link expires.
    pub expires_at: Micros,
}

/// Login links of users.
#[derive(Clone, Debug)]
pub struct Logins {
    context: Arc<Context>,
}

impl Logins {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates a login link for a user, and deletes links that have expired. Neither the link nor the token that is created from it
    /// outlives the caller's token.
    ///
    /// # Errors
    /// [`Error::Denied`] for every caller except the operator; [`Error::NotFound`] if the user does not exist.
    pub async fn create(&self, caller: &Caller, user: UserId) -> Result<NewLogin> {
        caller.platform()?;
        let db = self.context.db.write();
        let row = user::Entity::find_by_id(user).one(db).await?;
        let row = row.ok_or_else(|| Error::not_found("user", user))?;
        let now = Micros::now();
        let old = login::Entity::delete_many().filter(login::Column::ExpiresAt.lte(now));
        old.exec(db).await?;
        let end = caller.limits.expires_at;
        let lifetime = now.plus(LINK_LIFE);
        let (secret, expires_at) = (login_secret(), end.map_or(lifetime, |end| end.min(lifetime)));
        let new = login::ActiveModel {
            hash: Set(tokens::hash(&secret).to_vec()),
            user_id: Set(user),
            expires_at: Set(expires_at),
            token_expires_at: Set(end),
        };
        login::Entity::insert(new).exec_without_returning(db).await?;
        Ok(NewLogin {
            email: row.email,
            secret,
            expires_at,
        })
    }

    /// Consumes a login link and creates a token for its user. If several calls redeem the same link at once, exactly one succeeds.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] if the secret is unknown, already used or expired, or if `email` is not the address of the user that the
    /// link belongs to. In the last case, the link remains valid.
    pub async fn redeem(&self, email: &str, shown: &str) -> Result<(token::Model, String)> {
        let txn = self.context.db.begin().await?;
        let hash = tokens::hash(shown).to_vec();
        let link = login::Entity::find_by_id(hash.clone()).one(&txn).await?;
        let link = link.ok_or(Error::TokenInvalid)?;
        let user = user::Entity::find_by_id(link.user_id).one(&txn).await?;
        let user = user.ok_or(Error::TokenInvalid)?;
        let now = Micros::now();
        if link.expires_at <= now || user.email != email {
            return Err(Error::TokenInvalid);
        }
        let gone = login::Entity::delete_by_id(hash).exec(&txn).await?;
        if gone.rows_affected == 0 {
            return Err(Error::TokenInvalid);
        }
        let secret = secret();
        let lifetime = now.plus(TOKEN_LIFE);
        let new = NewToken {
            kind: TokenKind::User,
            name: "login".to_owned(),
            account: None,
            user: Some(user.id),
            agent_bot: None,
            read_only: false,
            inboxes: Vec::new(),
            expires_at: Some(link.token_expires_at.map_or(lifetime, |end| end.min(lifetime))),
        };
        let row = tokens::insert(&txn, new, &secret).await?;
        txn.commit().await?;
        Ok((row, secret))
    }
}
