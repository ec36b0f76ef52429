//! Authenticates the holders of pubsub tokens, decides which events they receive, and tracks who is online.

use std::{collections::BTreeMap, sync::Arc};

use hmac::{Hmac, KeyInit as _, Mac as _};
use parley_eventlog::cursor::Cursor;
use parley_fault::Protection;
use parley_storage::{
    entity::{
        contact_inbox, conversation,
        kind::{Availability, PresenceKind},
        membership, presence, token,
    },
    load, present,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId, ContactInboxId, ConversationId, TokenId, UserId, secret},
    time::Micros,
};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use sha2::Sha256;
use tokio::sync::OnceCell;

use crate::{
    auth::{caller::Caller, secrets},
    client::{ContactSession, PublicInboxes},
    context::Context,
    people::presence::Presence,
};

/// The name of the key that signs the pubsub tokens of users.
const KEY: &str = "pubsub_tokens";

/// The maximum number of rows that are read for a list of online users or contacts.
const LISTED: u64 = 1000;

/// The maximum length of a pubsub token in bytes. Actual tokens are much shorter.
const TOKEN_BYTES: usize = 255;

/// The holder of a valid pubsub token: a user or a contact session.
#[derive(Clone, Debug)]
pub struct PubsubSubscriber {
    /// The caller that represents the user or the contact.
    pub caller: Arc<Caller>,
    /// The account whose events the subscriber receives.
    pub account: AccountId,
    visitor: Option<Arc<ContactSession>>,
    /// The contact whose events the subscriber receives, if the subscriber is a contact session.
    contact: Option<ContactId>,
}

/// The users and contacts of an account that are online.
#[derive(Clone, Debug)]
pub struct Present {
    /// The head of the event log when the presence was read.
    pub head: Cursor,
    /// The availability of the members who are online, by user id. Members without `auto_offline` always count as online.
    pub users: BTreeMap<UserId, Availability>,
    /// The contacts that are online; empty if the subscriber is a contact session.
    pub contacts: Vec<ContactId>,
}

impl PubsubSubscriber {
    /// Returns the contact whose events the subscriber receives, or `None` if the subscriber is a user.
    pub fn contact(&self) -> Option<ContactId> {
        self.contact
    }

    /// Returns the same contact session as a subscriber to the events of `contact`. While the subscriber follows several merges one by one,
    /// `contact` can be an intermediate contact that the session no longer belongs to.
    #[must_use]
    pub fn as_contact(mut self, contact: ContactId) -> Self {
        self.contact = self.contact.and(Some(contact));
        self
    }

    /// Returns the id of the contact session, or `None` if the subscriber is a user.
    pub fn session(&self) -> Option<ContactInboxId> {
        self.visitor.as_ref().map(|visitor| visitor.client.row.id)
    }

    /// Returns the database row of the contact session, as it was when the session's token was last verified, or `None` if the subscriber
    /// is a user.
    pub fn session_row(&self) -> Option<&contact_inbox::Model> {
        self.visitor.as_ref().map(|visitor| &visitor.client.row)
    }

    /// Returns whether the subscriber receives the events of a conversation that belongs to the session `session` of `contact`, given
    /// whether that session is verified. A contact session receives the events of its own conversations and, if both sessions are verified,
    /// those of other sessions of the same contact. A user receives all events.
    pub fn receives(&self, session: ContactInboxId, contact: ContactId, verified: bool) -> bool {
        let own = |row: &contact_inbox::Model| row.id == session || verified && row.hmac_verified && self.contact == Some(contact);
        self.session_row().is_none_or(own)
    }
}

/// Issues pubsub tokens, and authenticates the subscribers who present them.
#[derive(Clone, Debug)]
pub struct Pubsub {
    context: Arc<Context>,
    /// The key that signs the pubsub tokens of users, read from the database on first use.
    key: Arc<OnceCell<[u8; 32]>>,
}

impl Pubsub {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            key: Arc::default(),
        }
    }

    /// Returns the pubsub token derived from the caller's token. The pubsub token grants the same access, becomes invalid together with the
    /// caller's token, and stays the same until it is rotated.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] if the caller's token no longer exists.
    pub(crate) async fn token(&self, caller: &Caller) -> Result<String> {
        let row = token::Entity::find_by_id(caller.token).one(self.context.db.read()).await?;
        self.sign(&row.ok_or(Error::TokenInvalid)?).await
    }

    async fn sign(&self, row: &token::Model) -> Result<String> {
        let mac = self.mac(row).await?.finalize().into_bytes();
        Ok(format!("{}.{}", row.id, hex::encode(mac)))
    }

    /// Returns the MAC of a token's id and pubsub generation, before it is finalized or verified. Each rotation increments the generation.
    async fn mac(&self, row: &token::Model) -> Result<Hmac<Sha256>> {
        let key = self.key.get_or_try_init(|| secrets::key(&self.context.db, KEY)).await?;
        let mac = Hmac::<Sha256>::new_from_slice(key);
        let mut mac = mac.map_err(|error| Error::Internal(error.to_string()))?;
        mac.update(&row.id.0.to_be_bytes());
        mac.update(&row.pubsub_generation.to_be_bytes());
        Ok(mac)
    }

    /// Verifies a user's pubsub token, and returns the access token from which it was derived.
    async fn verify(&self, pubsub_token: &str, user: UserId) -> Result<token::Model> {
        let read = || {
            let (id, mac) = pubsub_token.split_once('.')?;
            Some((id.parse::<i64>().ok()?, hex::decode(mac).ok()?))
        };
        let (id, mac) = read().ok_or(Error::TokenInvalid)?;
        let row = token::Entity::find_by_id(TokenId(id)).one(self.context.db.read()).await?;
        let row = row.filter(|row| row.user_id == Some(user)).ok_or(Error::TokenInvalid)?;
        // `verify_slice` compares in constant time.
        let verified = self.mac(&row).await?.verify_slice(&mac);
        if verified.is_err() && parley_fault::is_on(Protection::PubsubSignature) {
            return Err(Error::TokenInvalid);
        }
        Ok(row)
    }

    /// Replaces the subscriber's pubsub token and returns the new one. The old token becomes invalid, and subscriptions that were opened
    /// with it end within seconds, when they next verify it.
    ///
    /// # Errors
    /// [`Error::Denied`] for a read-only token; [`Error::TokenInvalid`] if the token no longer exists.
    pub async fn rotate_token(&self, subscriber: &PubsubSubscriber) -> Result<String> {
        subscriber.caller.may_write()?;
        let db = self.context.db.write();
        if let Some(visitor) = &subscriber.visitor {
            let fresh = secret();
            contact_inbox::Entity::update_many()
                .col_expr(contact_inbox::Column::PubsubToken, Expr::value(fresh.as_str()))
                .filter(contact_inbox::Column::AccountId.eq(subscriber.account))
                .filter(contact_inbox::Column::Id.eq(visitor.client.row.id))
                .exec(db)
                .await?;
            self.context.tokens.forget_session(visitor).await;
            return Ok(fresh);
        }
        token::Entity::update_many()
            .col_expr(token::Column::PubsubGeneration, Expr::col(token::Column::PubsubGeneration).add(1))
            .filter(token::Column::Id.eq(subscriber.caller.token))
            .exec(db)
            .await?;
        let row = token::Entity::find_by_id(subscriber.caller.token).one(db).await?;
        self.sign(&row.ok_or(Error::TokenInvalid)?).await
    }

    /// Authenticates a pubsub token. It must belong to the user `user` if given, otherwise to a contact session. A user receives everything
    /// that the access token behind the pubsub token may read.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] if the pubsub token is unknown or belongs to another user, or if the access token behind it was revoked or
    /// has expired; [`Error::NotMember`] if the holder has no access to the account; [`Error::Suspended`] if the account is suspended.
    pub async fn subscriber(&self, token: &str, account: Option<AccountId>, user: Option<UserId>) -> Result<PubsubSubscriber> {
        if token.len() > TOKEN_BYTES {
            return Err(Error::TokenInvalid);
        }
        let db = self.context.db.read();
        let Some(user) = user else {
            let row = contact_inbox::Entity::find()
                .filter(contact_inbox::Column::PubsubToken.eq(token))
                .one(db)
                .await?
                .ok_or(Error::TokenInvalid)?;
            let inbox = load::inbox(db, row.account_id, row.inbox_id).await?;
            let mut visitor = PublicInboxes::new(&self.context)
                .session(&inbox.channel.identifier, &row.source_id)
                .await?;
            // Sessions are cached for a few seconds, so the cached session may be outdated: its contact or its verification may have
            // changed since.
            if visitor.client.row != row {
                self.context.tokens.forget_session(&visitor).await;
                visitor = PublicInboxes::new(&self.context)
                    .session(&inbox.channel.identifier, &row.source_id)
                    .await?;
            }
            return Ok(PubsubSubscriber {
                caller: Arc::clone(&visitor.caller),
                account: row.account_id,
                contact: Some(visitor.client.row.contact_id),
                visitor: Some(visitor),
            });
        };
        let row = self.verify(token, user).await?;
        let account = account.ok_or(Error::TokenInvalid)?;
        let caller = self.context.tokens.caller(row).await?;
        caller.access(account)?;
        Ok(PubsubSubscriber {
            caller,
            account,
            visitor: None,
            contact: None,
        })
    }

    /// Returns whether a subscriber receives the events of a conversation.
    ///
    /// # Errors
    /// [`Error::Database`] if a query fails.
    pub async fn reaches(&self, subscriber: &PubsubSubscriber, id: ConversationId) -> Result<bool> {
        if subscriber.session().is_none() {
            return Ok(true);
        }
        let db = self.context.db.read();
        let row = conversation::Entity::find_by_id((subscriber.account, id)).one(db).await?;
        let Some(row) = row else { return Ok(false) };
        let receives = |verified| subscriber.receives(row.contact_inbox_id, row.contact_id, verified);
        if receives(false) || !receives(true) {
            return Ok(receives(false));
        }
        // The conversation belongs to another session of the contact: the subscriber receives its events only if that session is also
        // verified.
        let session = contact_inbox::Entity::find_by_id(row.contact_inbox_id).one(db).await?;
        Ok(session.is_some_and(|session| session.hmac_verified))
    }

    /// Records that the holder of a pubsub token is online, unless the token is read-only, and returns all users and contacts that are
    /// online.
    ///
    /// # Errors
    /// [`Error::Database`] if a statement fails.
    pub async fn report_presence(&self, subscriber: &PubsubSubscriber) -> Result<Present> {
        let account = subscriber.account;
        match (
            subscriber.contact(),
            subscriber.caller.user_id().filter(|_| subscriber.caller.may_write().is_ok()),
        ) {
            (Some(contact), _) => {
                Presence::new(&self.context)
                    .record(account, PresenceKind::Contact, contact.0, true)
                    .await?;
            }
            (None, Some(user)) => {
                let in_person = subscriber.caller.limits.account.is_none();
                Presence::new(&self.context)
                    .record(account, PresenceKind::User, user.0, in_person)
                    .await?;
            }
            (None, None) => {}
        }
        self.list_present(subscriber).await
    }

    /// Returns the users and contacts that are online. For a contact session, only the users are returned.
    ///
    /// # Errors
    /// [`Error::Database`] if a query fails.
    pub async fn list_present(&self, subscriber: &PubsubSubscriber) -> Result<Present> {
        let account = subscriber.account;
        let now = Micros::now();
        let seen = presence::Entity::find()
            .filter(presence::Column::AccountId.eq(account))
            .filter(presence::Column::SeenAt.gt(now.minus(present::WINDOW)))
            .order_by_desc(presence::Column::SeenAt)
            .limit(LISTED)
            .all(self.context.db.read())
            .await?;
        let members = membership::Entity::find()
            .filter(membership::Column::AccountId.eq(account))
            .order_by_asc(membership::Column::UserId)
            .limit(LISTED)
            .all(self.context.db.read())
            .await?;
        let is_there = |user: UserId| seen.iter().any(|row| row.kind == PresenceKind::User && row.id == user.0);
        let users = members
            .into_iter()
            .filter(|member| !member.auto_offline || is_there(member.user_id))
            .map(|member| (member.user_id, member.availability))
            .collect();
        let contacts = seen
            .iter()
            .filter(|row| row.kind == PresenceKind::Contact && subscriber.visitor.is_none())
            .map(|row| ContactId(row.id))
            .collect();
        let range = self.context.events.log.range(account).await?;
        Ok(Present {
            head: range.head_cursor(),
            users,
            contacts,
        })
    }
}
