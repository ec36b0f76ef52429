//! Login links: a secret that is good once and for minutes, for a token of its user.

use std::time::Duration;

use parley_storage::entity::{kind::TokenKind, login, token, user};
use parley_types::{
    error::{Error, Result},
    id::{UserId, long_secret, secret},
    time::Micros,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Set};

use crate::{
    Chat,
    auth::{
        caller::Caller,
        tokens::{self, NewToken},
    },
};

/// How long a link is good, as Chatwoot has it.
const LINK_LIFE: Duration = Duration::from_mins(5);
/// How long a token is good that somebody logged in with.
const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// A link that was made.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// The address of its user.
    pub email: String,
    /// Its secret, which is kept nowhere.
    pub secret: String,
    /// Until when it is good.
    pub expires_at: Micros,
}

impl Chat {
    /// Makes a link for a user, and forgets those that nobody used in time.
    ///
    /// # Errors
    /// [`Error::Denied`] for anybody but the operator; [`Error::NotFound`].
    pub async fn create_login(&self, caller: &Caller, user: UserId) -> Result<NewLogin> {
        caller.platform()?;
        let db = self.db.write();
        let row = user::Entity::find_by_id(user).one(db).await?;
        let row = row.ok_or_else(|| Error::not_found("user", user))?;
        let now = Micros::now();
        let old = login::Entity::delete_many().filter(login::Column::ExpiresAt.lte(now));
        old.exec(db).await?;
        // Neither the link nor what it is redeemed for lasts longer than the token that makes it.
        let end = caller.limits.expires_at;
        let lifetime = now.plus(LINK_LIFE);
        let (secret, expires_at) = (long_secret(), end.map_or(lifetime, |end| end.min(lifetime)));
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

    /// Uses a link up and makes a token for its user. Of many at once with the same link one gets it.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] when the secret is unknown, used or too old, or is not the user's of this address; the last leaves the link
    /// as it is.
    pub async fn redeem_login(&self, email: &str, shown: &str) -> Result<(token::Model, String)> {
        let txn = self.db.begin().await?;
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
