//! The operations of visitors in contact sessions. A visitor is authorized by knowing the public identifier of an inbox and the source id
//! of a session. A signature by the integrator's server proves the contact's identifier.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use parley_fault::Protection;
use parley_storage::{
    entity::{account, api_channel, contact, contact_inbox, inbox, kind::Role},
    joined::{Client, Inbox},
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{ContactId, ContactInboxId, TokenId},
};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sha2::Sha256;

use crate::{
    auth::caller::{Access, Caller, ContactScope, Limits, Principal, SessionScope},
    context::Context,
};

mod contact_session;
pub mod conversations;
pub mod fields;
mod identity;
pub mod messages;
mod names;
pub mod sessions;

pub use contact_session::ContactSession;

/// A public inbox, and the caller that represents a visitor who has no contact session yet.
#[derive(Clone, Debug)]
pub struct PublicInbox {
    pub inbox: Arc<Inbox>,
    /// The caller that represents a visitor without a session.
    pub caller: Arc<Caller>,
}

/// An HMAC signature that proves the identifier of a contact.
#[derive(Clone, Debug, Default)]
pub struct Signature {
    /// The contact's id in the integrator's system; blank if there is none.
    pub identifier: String,
    /// The HMAC in hexadecimal digits; blank if there is no proof.
    pub hash: String,
}

/// Maximum length of an inbox identifier or a source id in bytes: 255 characters of four bytes each. No stored value is longer, so longer
/// values are not looked up.
const NAME_BYTES: usize = 4 * 255;

/// A verified session can access the conversations of at most this many sessions of its contact, including its own. If the contact has more
/// sessions, verified sessions take precedence over unverified ones, and older sessions over newer ones in the same group.
const OTHERS: u64 = 1000;

const WANTED: &str = "the inbox requires an identifier and its hash";
const WRONG: &str = "the hash is not a valid signature of this contact's identifier";

impl Signature {
    /// Returns whether a valid signature proves the contact's identifier. If `contact` is given, its identifier must be the one that was
    /// signed.
    ///
    /// # Errors
    /// Returns [`Error::Unsigned`] if the signature is wrong, or missing where the inbox requires one.
    pub(super) fn check(&self, channel: &api_channel::Model, contact: Option<&contact::Model>) -> Result<bool> {
        if self.hash.trim().is_empty() {
            return if channel.hmac_mandatory {
                Err(Error::Unsigned(WANTED))
            } else {
                Ok(false)
            };
        }
        if self.identifier.trim().is_empty() {
            return Err(Error::Unsigned(WANTED));
        }
        let wrong = || Error::Unsigned(WRONG);
        let given = hex::decode(self.hash.trim()).map_err(|_| wrong())?;
        let mut mac = Hmac::<Sha256>::new_from_slice(channel.hmac_token.as_bytes()).map_err(|_| wrong())?;
        mac.update(self.identifier.as_bytes());
        // `verify_slice` compares in constant time.
        mac.verify_slice(&given).map_err(|_| wrong())?;
        match contact {
            Some(contact) if contact.identifier.as_deref() != Some(self.identifier.as_str()) => Err(wrong()),
            _ => Ok(true),
        }
    }
}

fn caller(account: &account::Model, contact: Option<&contact::Model>, session_scope: Option<SessionScope>) -> Arc<Caller> {
    let access = Access {
        role: Role::Agent,
        inboxes: None,
        teams: Vec::new(),
        person: None,
        status: account.status,
        contacts: ContactScope::Account,
        // If there is no session, use an empty scope, which gives access to no conversation.
        session_scope: Some(session_scope.unwrap_or_default()),
    };
    Arc::new(Caller {
        token: TokenId(0),
        principal: Principal::Contact {
            id: contact.map_or(ContactId(0), |contact| contact.id),
            name: contact.map(|contact| contact.name.clone()).unwrap_or_default(),
        },
        read_only: false,
        accounts: [(account.id, access)].into(),
        limits: Limits::default(),
    })
}

/// Returns the inbox with this public identifier.
async fn inbox(db: &impl ConnectionTrait, identifier: &str) -> Result<Arc<Inbox>> {
    let missing = || Error::not_found("inbox", identifier);
    if identifier.len() > NAME_BYTES {
        return Err(missing());
    }
    let channel = api_channel::Entity::find()
        .filter(api_channel::Column::Identifier.eq(identifier))
        .one(db)
        .await?
        .ok_or_else(missing)?;
    let row = inbox::Entity::find()
        .filter(inbox::Column::AccountId.eq(channel.account_id))
        .filter(inbox::Column::ChannelId.eq(channel.id))
        .one(db)
        .await?
        .ok_or_else(missing)?;
    Ok(Arc::new(Inbox { row, channel }))
}

/// Returns the session with this source id in an inbox.
async fn session(db: &impl ConnectionTrait, inbox: &Inbox, source_id: &str) -> Result<Option<contact_inbox::Model>> {
    let row = contact_inbox::Entity::find()
        .filter(contact_inbox::Column::AccountId.eq(inbox.row.account_id))
        .filter(contact_inbox::Column::InboxId.eq(inbox.row.id))
        .filter(contact_inbox::Column::SourceId.eq(source_id));
    Ok(row.one(db).await?)
}

/// Reads a session with its inbox and contact.
async fn read(db: &impl ConnectionTrait, identifier: &str, source_id: &str) -> Result<Client> {
    let inbox = inbox(db, identifier).await?;
    let row = session(db, &inbox, source_id).await?;
    let row = row.ok_or_else(|| Error::not_found("contact_inbox", source_id))?;
    let contact = load::contact(db, row.account_id, row.contact_id).await?;
    Ok(Client { inbox, row, contact })
}

/// Returns the sessions whose conversations a verified session can access, or `None` if the session is no longer verified or now belongs to
/// another contact.
///
/// The accessible sessions are the verified sessions of the same contact and the sessions that members created. Any other session could
/// belong to a stranger who submitted the contact's address or identifier: its messages would appear to be the contact's own, and the
/// stranger would read the replies.
async fn others(db: &impl ConnectionTrait, session: &contact_inbox::Model) -> Result<Option<Vec<ContactInboxId>>> {
    use contact_inbox::Column;
    let rows: Vec<(ContactInboxId, bool)> = contact_inbox::Entity::find()
        .select_only()
        .columns([Column::Id, Column::HmacVerified])
        .filter(Column::AccountId.eq(session.account_id))
        .filter(Column::ContactId.eq(session.contact_id))
        .filter(Condition::all().add_option(parley_fault::is_on(Protection::IdentityProof).then(contact_inbox::vouched_for)))
        .order_by_desc(Column::HmacVerified)
        .order_by_asc(Column::Id)
        .limit(OTHERS)
        .into_tuple()
        .all(db)
        .await?;
    let verified = rows.contains(&(session.id, true));
    Ok(verified.then(|| rows.into_iter().map(|(id, _)| id).collect()))
}

/// Operations on public inboxes and the contact sessions in them.
#[derive(Clone, Debug)]
pub struct PublicInboxes {
    context: Arc<Context>,
}

impl PublicInboxes {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Returns the public inbox with this identifier, for a visitor without a session.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such inbox, and [`Error::Suspended`] if its account is suspended.
    pub async fn get(&self, identifier: &str) -> Result<PublicInbox> {
        let db = self.context.db.read();
        let inbox = inbox(db, identifier).await?;
        let account = load::account(db, inbox.row.account_id).await?;
        let caller = caller(&account, None, None);
        caller.access(account.id)?;
        Ok(PublicInbox { inbox, caller })
    }

    /// Authenticates a contact session by the identifier of its inbox and its source id. The session comes from a small cache whose entries
    /// expire. For a verified session, the set of sessions whose conversations it can access is read on each call, because another replica
    /// can merge its contact or end its verification.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such inbox or session, and [`Error::Suspended`] if the account is suspended.
    pub async fn session(&self, identifier: &str, source_id: &str) -> Result<Arc<ContactSession>> {
        let mut visitor = self.cached_session(identifier, source_id).await?;
        for _ in 0..2 {
            if !visitor.client.row.hmac_verified {
                break;
            }
            if let Some(others) = others(self.context.db.read(), &visitor.client.row).await? {
                visitor = Arc::new(visitor.reaching(others)?);
                break;
            }
            self.context.tokens.forget_session(&visitor).await;
            visitor = self.cached_session(identifier, source_id).await?;
        }
        visitor.caller.access(visitor.account())?;
        Ok(visitor)
    }

    async fn cached_session(&self, identifier: &str, source_id: &str) -> Result<Arc<ContactSession>> {
        // Check the lengths here too, because the inbox identifier and the source id are the keys of the cache.
        for (kind, name) in [("inbox", identifier), ("contact_inbox", source_id)] {
            if name.len() > NAME_BYTES {
                return Err(Error::not_found(kind, name));
            }
        }
        let key = (identifier.to_owned(), source_id.to_owned());
        let look_up = async {
            let db = self.context.db.read();
            let client = read(db, identifier, source_id).await?;
            let account = load::account(db, client.row.account_id).await?;
            let scope = SessionScope {
                session: client.row.id,
                others: Vec::new(),
            };
            let caller = caller(&account, Some(&client.contact.row), Some(scope));
            Ok(Arc::new(ContactSession { client, caller }))
        };
        let kept = self.context.tokens.sessions.try_get_with(key, look_up).await;
        kept.map_err(|error: Arc<Error>| error.as_ref().clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use parley_types::{
        id::{AccountId, ChannelId},
        time::Micros,
    };

    fn channel(hmac_mandatory: bool) -> api_channel::Model {
        api_channel::Model {
            id: ChannelId(1),
            account_id: AccountId(1),
            identifier: "i".to_owned(),
            hmac_token: "key".to_owned(),
            hmac_mandatory,
            attach_unverified_sessions: true,
            webhook_url: None,
            additional_attributes: json!({}),
            created_at: Micros(0),
            updated_at: Micros(0),
        }
    }

    fn check(mandatory: bool, identifier: &str, hash: &str) -> Option<bool> {
        let signature = Signature {
            identifier: identifier.to_owned(),
            hash: hash.to_owned(),
        };
        signature.check(&channel(mandatory), None).ok()
    }

    #[test]
    fn missing_signature_is_optional_and_invalid_one_is_rejected() {
        // A well-known test vector: HMAC_SHA256("key", "The quick brown fox jumps over the lazy dog").
        let (text, hash) = (
            "The quick brown fox jumps over the lazy dog",
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
        );
        assert_eq!(check(false, text, hash), Some(true));
        assert_eq!(check(false, text, ""), Some(false));
        assert_eq!(check(true, text, ""), None);
        assert_eq!(check(false, "somebody else", hash), None);
        assert_eq!(check(false, "", hash), None);
        assert_eq!(check(false, text, "zz"), None);
    }
}
