//! Authentication of tokens, whom calls without one are charged to, and how failed authentication is bounded.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Extensions;
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{Activity, AnonymousLimits, Charged, Permit, Resource, Turn},
    request_memory::KnownTokens,
};
use parley_domain::auth::{
    caller::{Caller, Principal},
    tokens::Tokens,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, InboxId},
};

/// Who a call without a token is charged to; an extension of such requests.
#[derive(Clone, Debug, Default)]
pub struct Payer {
    address: Option<ClientAddress>,
    /// The service whose token came along: an integrator that passes on what its visitors do.
    service: Option<Arc<Caller>>,
}

impl Payer {
    /// Who a request is charged to. Without an address, as in a test without a listener, only inboxes are charged.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// The service that is charged in place of an address, if any.
    pub fn service(&self) -> Option<&Arc<Caller>> {
        self.service.as_ref()
    }

    /// Charges an activity, and the bytes that it takes, unless a service that may use the inbox pays by the rate of its token.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`].
    pub fn charge(
        &self,
        limits: &AnonymousLimits,
        (account, inbox): (AccountId, InboxId),
        activity: Option<Activity>,
        bytes: usize,
    ) -> Result<()> {
        if self.is_service_of(account, inbox) {
            return Ok(());
        }
        if let Some(activity) = activity {
            limits.charge(self.address, inbox, activity)?;
        }
        Ok(limits.bytes(self.address, inbox, bytes)?)
    }

    fn is_service_of(&self, account: AccountId, inbox: InboxId) -> bool {
        let access = self.service.as_ref().and_then(|service| service.access(account).ok());
        access.is_some_and(|access| access.inboxes.as_ref().is_none_or(|inboxes| inboxes.contains(&inbox)))
    }

    /// Counts something open until the permit is dropped.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`].
    pub fn open(&self, limits: &Arc<AnonymousLimits>, resource: Resource) -> Result<Permit> {
        Ok(limits.open(self.address, resource)?)
    }
}

/// Authenticates, and charges what cannot be authenticated.
#[derive(Clone, Debug)]
pub struct Authenticator {
    tokens: Tokens,
    limits: Arc<AnonymousLimits>,
}

impl Authenticator {
    /// Over these tokens, within these limits.
    pub fn new(tokens: Tokens, limits: Arc<AnonymousLimits>) -> Self {
        Self { tokens, limits }
    }

    /// The caller that a secret speaks for. After too many failures of an address only tokens that were good within the last hour are
    /// looked up: a stranger must not lock out those who share its address.
    ///
    /// # Errors
    /// [`Error::TokenMissing`]; [`Error::TokenInvalid`]; [`Error::QuotaExceeded`] after too many of them.
    pub async fn authenticate(&self, extensions: &Extensions, secret: Option<&str>) -> Result<Arc<Caller>> {
        let address = address(extensions);
        if let Err(exceeded) = self.limits.may_authenticate(address) {
            let was_good = match secret {
                Some(secret) => self.tokens.was_good(secret).await,
                None => false,
            };
            if !was_good {
                return Err(exceeded.into());
            }
        }
        let outcome = match secret {
            Some(secret) => self.tokens.authenticate(secret).await,
            None => Err(Error::TokenMissing),
        };
        match outcome {
            Err(error @ (Error::TokenMissing | Error::TokenInvalid)) => {
                self.limits.failed(address)?;
                Err(error)
            }
            outcome => outcome,
        }
    }

    /// Who a call without authentication is charged to. It is charged to its address here, unless the gateway has done so or a service
    /// token came along.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`].
    pub async fn payer(&self, extensions: &Extensions, secret: Option<&str>) -> Result<Payer> {
        let address = address(extensions);
        let service = match secret {
            None => None,
            // These calls never needed a token, so a bad one refuses nothing. It is counted: otherwise each would be a lookup without limit.
            Some(_) => match self.authenticate(extensions, secret).await {
                Ok(caller) if matches!(caller.principal, Principal::Service { .. }) => Some(caller),
                Ok(_) | Err(Error::TokenInvalid) => None,
                Err(error) => return Err(error),
            },
        };
        if service.is_none() && extensions.get::<Charged>().is_none() {
            self.limits.call(address)?;
        }
        Ok(Payer { address, service })
    }

    /// Whether a call waits for its turn here, and the address whose turn it is. Calls of the gateway do, because their request is complete;
    /// one from outside takes its turn where its message is read.
    pub fn waits_for_turn(payer: &Payer, extensions: &Extensions) -> Option<Option<ClientAddress>> {
        (payer.service.is_none() && extensions.get::<Charged>().is_some()).then_some(payer.address)
    }

    /// Waits for the turn of an address, which lasts until it is dropped. None if callers without a token take no turns.
    pub async fn turn(&self, address: Option<ClientAddress>) -> Option<Turn> {
        self.limits.turn(address).await
    }

    /// Charges a call that was answered with UNAUTHENTICATED although it needed no token: a wrong pubsub token, login or signature.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] after too many of them.
    pub fn failed(&self, payer: &Payer) -> Result<()> {
        match payer.service {
            Some(_) => Ok(()),
            None => Ok(self.limits.failed(payer.address)?),
        }
    }

    /// Whether a line about a failed authentication may be logged. Says how many were left out.
    pub fn may_log(&self) -> bool {
        let Some(left_out) = self.limits.may_log() else { return false };
        if left_out > 0 {
            tracing::warn!(left_out, "lines about failed authentication were left out");
        }
        true
    }
}

impl KnownTokens for Authenticator {
    fn is_known(&self, secret: &str) -> bool {
        self.tokens.is_known(secret)
    }

    fn look_up<'a>(&'a self, address: Option<ClientAddress>, secret: &'a str) -> BoxFuture<'a, bool> {
        let mut extensions = Extensions::new();
        if let Some(address) = address {
            extensions.insert(address);
        }
        Box::pin(async move { self.authenticate(&extensions, Some(secret)).await.is_ok() })
    }
}

fn address(extensions: &Extensions) -> Option<ClientAddress> {
    extensions.get().copied()
}
