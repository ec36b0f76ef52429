//! The owner of an idempotency key: two callers that use the same request id never receive each other's responses.

use std::net::IpAddr;

use parley_fault::Protection;
use parley_types::id::{AccountId, ContactInboxId, InboxId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::auth::caller::{Caller, Principal};

/// The owner of an idempotency key: a user, a bot, the operator, a service (identified by its name and inboxes), a contact session, or a
/// visitor without a session. The owner stays the same when the caller receives a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// A digest of the owner's kind and name.
    pub id: Uuid,
    /// Whether the owner is a visitor without a session, identified only by an inbox and an IP address.
    pub is_anonymous: bool,
    /// Whether the owner is a visitor, with or without a session.
    pub is_visitor: bool,
}

impl KeyOwner {
    /// Returns the owner of the idempotency keys that a caller uses in an account.
    pub fn of(caller: &Caller, account: AccountId) -> Self {
        let access = caller.accounts.get(&account);
        let session = access
            .and_then(|access| access.session_scope.as_ref())
            .map_or(ContactInboxId(0), |scope| scope.session);
        match &caller.principal {
            Principal::User(user) => Self::named(&format!("user {}", user.id)),
            Principal::AgentBot(bot) => Self::named(&format!("agent bot {}", bot.id)),
            Principal::Platform => Self::named("operator"),
            Principal::Service { name } if name.is_empty() => Self::named(&format!("token {}", caller.token.0)),
            Principal::Service { name } => {
                // The inboxes are part of the name. Otherwise, a token limited to a few inboxes could read the responses that were stored
                // for a token with access to all inboxes.
                let mut inboxes = access.and_then(|access| access.inboxes.clone());
                if let Some(inboxes) = &mut inboxes {
                    inboxes.sort_unstable();
                }
                Self::named(&format!("service {inboxes:?} {name}"))
            }
            Principal::Contact { .. } if session == ContactInboxId(0) => Self::visitor(InboxId(0), None),
            Principal::Contact { .. } => Self {
                is_visitor: true,
                ..Self::named(&format!("session {}", session.0))
            },
            Principal::Parley => Self::named("parley"),
        }
    }

    /// Returns the owner for a visitor without a session, identified by the inbox and the IP address that the request comes from.
    pub fn visitor(inbox: InboxId, address: Option<IpAddr>) -> Self {
        Self {
            is_anonymous: true,
            is_visitor: true,
            ..Self::named(&format!("visitor {} {address:?}", inbox.0))
        }
    }

    fn named(name: &str) -> Self {
        let name = if parley_fault::is_on(Protection::IdempotencyOwner) {
            name
        } else {
            ""
        };
        Self {
            id: digest(&[name.as_bytes()]),
            is_anonymous: false,
            is_visitor: false,
        }
    }

    /// Returns the id under which the owner's response is stored if the owner is a visitor or another caller has already used the request
    /// id.
    pub fn owned(&self, request_id: Uuid) -> Uuid {
        digest(&[self.id.as_bytes(), request_id.as_bytes()])
    }
}

fn digest(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_are_distinguished_by_inbox_and_address() {
        let address = |text: &str| Some(text.parse().unwrap());
        let one = KeyOwner::visitor(InboxId(1), address("192.0.2.1"));
        assert_eq!(one, KeyOwner::visitor(InboxId(1), address("192.0.2.1")));
        assert_ne!(one, KeyOwner::visitor(InboxId(2), address("192.0.2.1")));
        assert_ne!(one, KeyOwner::visitor(InboxId(1), address("192.0.2.2")));
        assert_ne!(one, KeyOwner::visitor(InboxId(1), None));
        assert_ne!(one.owned(Uuid::nil()), KeyOwner::named("operator").owned(Uuid::nil()));
    }
}
