//! Pubsub tokens: what their holders may hear, and who is there.

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

use crate::{
    Chat,
    auth::{caller::Caller, secrets},
    client::Guest,
};

/// The key that signs users' pubsub tokens.
const KEY: &str = "pubsub_tokens";

/// Entries of a list of who is there, at most.
const LISTED: u64 = 1000;

/// Bytes of a pubsub token, generously: they have 24.
const TOKEN_BYTES: usize = 255;

/// Whoever shows a pubsub token that is good.
#[derive(Clone, Debug)]
pub struct Ear {
    /// The user or the contact as a caller.
    pub caller: Arc<Caller>,
    /// The account that it hears.
    pub account: AccountId,
    guest: Option<Arc<Guest>>,
    /// The contact that it listens as, if a session listens.
    contact: Option<ContactId>,
}

/// Who is there.
#[derive(Clone, Debug)]
pub struct Present {
    /// The head of the log.
    pub head: Cursor,
    /// Members by id.
    pub users: BTreeMap<UserId, Availability>,
    /// Contacts, for users only.
    pub contacts: Vec<ContactId>,
}

impl Ear {
    /// The contact, if a session listens.
    pub fn contact(&self) -> Option<ContactId> {
        self.contact
    }

    /// The same session listening as a contact that it had between two merges.
    #[must_use]
    pub fn as_contact(mut self, contact: ContactId) -> Self {
        self.contact = self.contact.and(Some(contact));
        self
    }

    /// The session, if one listens.
    pub fn session(&self) -> Option<ContactInboxId> {
        self.guest.as_ref().map(|guest| guest.client.row.id)
    }

    /// The session as it was when the token was last looked at.
    pub fn session_row(&self) -> Option<&contact_inbox::Model> {
        self.guest.as_ref().map(|guest| &guest.client.row)
    }

    /// Whether what happens in a conversation of a session of a contact is its business: of its own session, and where both are verified, of
    /// another one of the same contact.
    pub fn hears(&self, session: ContactInboxId, contact: ContactId, verified: bool) -> bool {
        let own = |row: &contact_inbox::Model| row.id == session || verified && row.hmac_verified && self.contact == Some(contact);
        self.session_row().is_none_or(own)
    }
}

impl Chat {
    /// The pubsub token that belongs to a user's token: it reaches as far as that token, and ends with it. Calling twice returns the same.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] when the token is gone.
    pub(crate) async fn pubsub_token(&self, caller: &Caller) -> Result<String> {
        let row = token::Entity::find_by_id(caller.token).one(self.db.read()).await?;
        self.pubsub_token_of(&row.ok_or(Error::TokenInvalid)?).await
    }

    async fn pubsub_token_of(&self, row: &token::Model) -> Result<String> {
        let mac = self.pubsub_mac(row).await?.finalize().into_bytes();
        Ok(format!("{}.{}", row.id, hex::encode(mac)))
    }

    /// Signs a token's id and how often its pubsub token was rotated.
    async fn pubsub_mac(&self, row: &token::Model) -> Result<Hmac<Sha256>> {
        let key = self.pubsub_key.get_or_try_init(|| secrets::key(&self.db, KEY)).await?;
        let mac = Hmac::<Sha256>::new_from_slice(key);
        let mut mac = mac.map_err(|error| Error::Internal(error.to_string()))?;
        mac.update(&row.id.0.to_be_bytes());
        mac.update(&row.pubsub_generation.to_be_bytes());
        Ok(mac)
    }

    /// The user's token that a pubsub token belongs to.
    async fn token_of(&self, pubsub_token: &str, user: UserId) -> Result<token::Model> {
        let read = || {
            let (id, mac) = pubsub_token.split_once('.')?;
            Some((id.parse::<i64>().ok()?, hex::decode(mac).ok()?))
        };
        let (id, mac) = read().ok_or(Error::TokenInvalid)?;
        let row = token::Entity::find_by_id(TokenId(id)).one(self.db.read()).await?;
        let row = row.filter(|row| row.user_id == Some(user)).ok_or(Error::TokenInvalid)?;
        // In constant time.
        let verified = self.pubsub_mac(&row).await?.verify_slice(&mac);
        if verified.is_err() && parley_fault::is_on(Protection::PubsubSignature) {
            return Err(Error::TokenInvalid);
        }
        Ok(row)
    }

    /// Replaces a pubsub token; the one that is shown is no longer good. Subscriptions that are open by it end when they look it up next, within
    /// seconds.
    ///
    /// # Errors
    /// As [`Chat::ear`]; [`Error::Denied`] for that of a token that may only read.
    pub async fn rotate_pubsub_token(&self, ear: &Ear) -> Result<String> {
        ear.caller.may_write()?;
        let db = self.db.write();
        if let Some(guest) = &ear.guest {
            let fresh = secret();
            contact_inbox::Entity::update_many()
                .col_expr(contact_inbox::Column::PubsubToken, Expr::value(fresh.as_str()))
                .filter(contact_inbox::Column::AccountId.eq(ear.account))
                .filter(contact_inbox::Column::Id.eq(guest.client.row.id))
                .exec(db)
                .await?;
            self.forget_guest(guest).await;
            return Ok(fresh);
        }
        token::Entity::update_many()
            .col_expr(token::Column::PubsubGeneration, Expr::col(token::Column::PubsubGeneration).add(1))
            .filter(token::Column::Id.eq(ear.caller.token))
            .exec(db)
            .await?;
        let row = token::Entity::find_by_id(ear.caller.token).one(db).await?;
        self.pubsub_token_of(&row.ok_or(Error::TokenInvalid)?).await
    }

    /// Who shows a pubsub token: a user, where `user` names one, else a contact's session. A user hears what the token hears that the pubsub
    /// token belongs to.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] when it is unknown or another user's, or its token was revoked or has expired; [`Error::NotMember`];
    /// [`Error::Suspended`].
    pub async fn ear(&self, token: &str, account: Option<AccountId>, user: Option<UserId>) -> Result<Ear> {
        if token.len() > TOKEN_BYTES {
            return Err(Error::TokenInvalid);
        }
        let db = self.db.read();
        let Some(user) = user else {
            let row = contact_inbox::Entity::find()
                .filter(contact_inbox::Column::PubsubToken.eq(token))
                .one(db)
                .await?
                .ok_or(Error::TokenInvalid)?;
            let inbox = load::inbox(db, row.account_id, row.inbox_id).await?;
            let mut guest = self.client(&inbox.channel.identifier, &row.source_id).await?;
            // Cached for some seconds: the session may belong to another contact by now, or have lost its proof.
            if guest.client.row != row {
                self.forget_guest(&guest).await;
                guest = self.client(&inbox.channel.identifier, &row.source_id).await?;
            }
            return Ok(Ear {
                caller: Arc::clone(&guest.caller),
                account: row.account_id,
                contact: Some(guest.client.row.contact_id),
                guest: Some(guest),
            });
        };
        let row = self.token_of(token, user).await?;
        let account = account.ok_or(Error::TokenInvalid)?;
        let caller = self.tokens.caller(row).await?;
        caller.access(account)?;
        Ok(Ear {
            caller,
            account,
            guest: None,
            contact: None,
        })
    }

    /// Whether a conversation is an ear's business.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ear_reaches(&self, ear: &Ear, id: ConversationId) -> Result<bool> {
        if ear.session().is_none() {
            return Ok(true);
        }
        let db = self.db.read();
        let row = conversation::Entity::find_by_id((ear.account, id)).one(db).await?;
        let Some(row) = row else { return Ok(false) };
        let hears = |verified| ear.hears(row.contact_inbox_id, row.contact_id, verified);
        if hears(false) || !hears(true) {
            return Ok(hears(false));
        }
        // Another session of the contact, which counts if it is verified too.
        let session = contact_inbox::Entity::find_by_id(row.contact_inbox_id).one(db).await?;
        Ok(session.is_some_and(|session| session.hmac_verified))
    }

    /// Notes that an ear's owner is there, unless its token may only read, and tells who else is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_ear(&self, ear: &Ear) -> Result<Present> {
        let account = ear.account;
        match (ear.contact(), ear.caller.user_id().filter(|_| ear.caller.may_write().is_ok())) {
            (Some(contact), _) => self.note_presence(account, PresenceKind::Contact, contact.0, true).await?,
            (None, Some(user)) => {
                let in_person = ear.caller.limits.account.is_none();
                self.note_presence(account, PresenceKind::User, user.0, in_person).await?;
            }
            (None, None) => {}
        }
        self.present(ear).await
    }

    /// Who is there, as far as an ear hears of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn present(&self, ear: &Ear) -> Result<Present> {
        let account = ear.account;
        let now = Micros::now();
        let seen = presence::Entity::find()
            .filter(presence::Column::AccountId.eq(account))
            .filter(presence::Column::SeenAt.gt(now.minus(present::WINDOW)))
            .order_by_desc(presence::Column::SeenAt)
            .limit(LISTED)
            .all(self.db.read())
            .await?;
        let members = membership::Entity::find()
            .filter(membership::Column::AccountId.eq(account))
            .order_by_asc(membership::Column::UserId)
            .limit(LISTED)
            .all(self.db.read())
            .await?;
        let is_there = |user: UserId| seen.iter().any(|row| row.kind == PresenceKind::User && row.id == user.0);
        let users = members
            .into_iter()
            .filter(|member| !member.auto_offline || is_there(member.user_id))
            .map(|member| (member.user_id, member.availability))
            .collect();
        let contacts = seen
            .iter()
            .filter(|row| row.kind == PresenceKind::Contact && ear.guest.is_none())
            .map(|row| ContactId(row.id))
            .collect();
        let reach = self.events.log.reach(account).await?;
        Ok(Present {
            head: reach.head_cursor(),
            users,
            contacts,
        })
    }
}
