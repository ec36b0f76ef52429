//! Authenticates tokens, charges calls without a token, and limits failed authentication.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Extensions;
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{Activity, AnonymousLimits, Charged, Permit, ProcessingSlot, Resource},
    request_memory::TokenValidity,
};
use parley_domain::auth::{
    caller::{Caller, Principal},
    tokens::Tokens,
};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, InboxId},
};

/// The party that a call without a token is charged to. It is stored in the extensions of the request.
#[derive(Clone, Debug, Default)]
pub struct Payer {
    address: Option<ClientAddress>,
    /// The service that authenticated with its own token: an integration that forwards calls from its visitors.
    service: Option<Arc<Caller>>,
}

impl Payer {
    /// Returns the payer of a request. If the client address is unknown, as in tests without a listener, only the limits per inbox apply.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// Returns the service that is charged instead of an address, if any.
    pub fn service(&self) -> Option<&Arc<Caller>> {
        self.service.as_ref()
    }

    /// Charges an activity and its bytes to the address and the inbox. A service that may use the inbox is exempt, because the rate limit
    /// of its token applies instead.
    ///
    /// # Errors
    /// Returns [`Error::QuotaExceeded`] if a limit is exceeded.
    pub fn charge(
        &self,
        limits: &AnonymousLimits,
        (account, inbox): (AccountId, InboxId),
        activity: Option<Activity>,
        bytes: usize,
    ) -> Result<()> {
        if self.is_exempt(account, inbox) {
            return Ok(());
        }
        if let Some(activity) = activity {
            limits.charge(self.address, inbox, activity)?;
        }
        Ok(limits.bytes(self.address, inbox, bytes)?)
    }

    fn is_exempt(&self, account: AccountId, inbox: InboxId) -> bool {
        let access = self.service.as_ref().and_then(|service| service.access(account).ok());
        access.is_some_and(|access| access.inboxes.as_ref().is_none_or(|inboxes| inboxes.contains(&inbox)))
    }

    /// Counts an open resource against the payer's address until the permit is dropped.
    ///
    /// # Errors
    /// Returns [`Error::QuotaExceeded`] if the address has too many resources of this kind open.
    pub fn open(&self, limits: &Arc<AnonymousLimits>, resource: Resource) -> Result<Permit> {
        Ok(limits.open(self.address, resource)?)
    }
}

/// Authenticates tokens, and applies rate limits to calls without a token.
#[derive(Clone, Debug)]
pub struct Authenticator {
    tokens: Tokens,
    limits: Arc<AnonymousLimits>,
}

impl Authenticator {
    /// Creates an authenticator that looks up tokens in `tokens` and enforces `limits`.
    pub fn new(tokens: Tokens, limits: Arc<AnonymousLimits>) -> Self {
        Self { tokens, limits }
    }

    /// Returns the caller that a secret belongs to. After too many failures from an address, only tokens that were valid within the last
    /// hour are looked up: otherwise an attacker could lock out clients that share the address.
    ///
    /// # Errors
    /// Returns [`Error::TokenMissing`] without a secret, [`Error::TokenInvalid`] if the secret is not valid, and [`Error::QuotaExceeded`]
    /// after too many failed authentications from the address. Database errors are passed through.
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

    /// Returns the party to charge for a call to a method that needs no token, and charges the call to the client's address. The address is
    /// not charged if the REST gateway has already charged it, or if the request carries the token of a service.
    ///
    /// # Errors
    /// Returns [`Error::QuotaExceeded`] if the address makes too many calls or sends too many invalid tokens. Database errors are passed
    /// through.
    pub async fn payer(&self, extensions: &Extensions, secret: Option<&str>) -> Result<Payer> {
        let address = address(extensions);
        let service = match secret {
            None => None,
            // The method needs no token, so an invalid token does not fail the call. It still counts as a failed authentication: otherwise
            // the number of token lookups would be unlimited.
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

    /// Returns the address for which the call must wait for a processing slot in the middleware, or `None` if the call does not wait there.
    /// Only calls from the REST gateway wait in the middleware, because their requests have already been read completely. A call from the
    /// network instead acquires its slot when its message is read.
    pub fn turn_address(payer: &Payer, extensions: &Extensions) -> Option<Option<ClientAddress>> {
        (payer.service.is_none() && extensions.get::<Charged>().is_some()).then_some(payer.address)
    }

    /// Waits for a processing slot for an address. Dropping the slot releases it. Returns `None` if a test has turned off the limit on
    /// processing slots.
    pub async fn processing_slot(&self, address: Option<ClientAddress>) -> Option<ProcessingSlot> {
        self.limits.processing_slot(address).await
    }

    /// Counts a call that failed with UNAUTHENTICATED as a failed authentication by the payer's address. The call's method needs no token,
    /// but the pubsub token, login or signature in the request is wrong. Calls made by a service are not counted.
    ///
    /// # Errors
    /// Returns [`Error::QuotaExceeded`] after too many failures.
    pub fn failed(&self, payer: &Payer) -> Result<()> {
        match payer.service {
            Some(_) => Ok(()),
            None => Ok(self.limits.failed(payer.address)?),
        }
    }

    /// Returns whether a failed authentication may be logged. If log lines about earlier failures were suppressed, also logs how many.
    pub fn should_log(&self) -> bool {
        let Some(left_out) = self.limits.may_log() else { return false };
        if left_out > 0 {
            tracing::warn!(left_out, "suppressed log lines about failed authentication");
        }
        true
    }
}

impl TokenValidity for Authenticator {
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
