//! Limits the memory of all requests in flight with one budget that all listeners share.
//!
//! A request is charged for the bytes of its body as they arrive. A request that declares a length is rejected at once if the budget has no
//! room for that length. The data that is built from one byte of a body (text, trees, encoded and decoded messages) takes up to
//! [`MEMORY_PER_BYTE`] bytes, so with a budget of N bytes, bodies may total N / [`MEMORY_PER_BYTE`] bytes. A request beyond this limit is
//! rejected and may be retried. Streams are charged for the message that is being read, reflection streams for data that the server may
//! have received but not read yet, uploads for data that is waiting to be stored, WebSocket connections for their buffers and for data that
//! is waiting to be sent, and responses for the part that the client has not received yet. An encoded byte of a response takes only one
//! byte of memory, so [`MEMORY_PER_BYTE`] of them are charged like one byte of a body.
//!
//! Bytes that a request has declared but not sent take no memory and are not charged: otherwise, a few requests that never send their
//! bodies could block all others.

mod shares;

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;
use http::{Extensions, HeaderMap};
use opentelemetry::{KeyValue, metrics::Counter};
use parley_fault::Protection;
use parley_telemetry::names::{self, meter};

use crate::{client_address::ClientAddress, credential::secret};
use shares::Shares;
pub use shares::{Exhausted, MemoryShare};

/// The maximum number of bytes of memory that processing one byte of a body takes.
pub const MEMORY_PER_BYTE: usize = 8;

/// The number of body bytes that are charged when a body begins. They correspond to 8 KiB of memory, for the request itself and the data
/// read ahead.
const INITIAL_CHARGE: usize = 1024;

static REFUSED: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter(names::CALLS_REJECTED).with_unit("{call}").build());

/// Checks whether tokens are valid, to tell authenticated callers from anonymous ones.
pub trait TokenValidity: fmt::Debug + Send + Sync {
    /// Returns whether the secret was recently found to be valid, without looking it up.
    fn is_known(&self, secret: &str) -> bool;

    /// Looks up whether the secret is valid. An invalid secret is charged to the address as a failed authentication.
    fn look_up<'a>(&'a self, address: Option<ClientAddress>, secret: &'a str) -> BoxFuture<'a, bool>;
}

/// The sender of a request: its address, and its token, which is not verified yet.
#[derive(Clone, Default)]
pub struct RequestSender {
    secret: Option<String>,
    address: Option<ClientAddress>,
}

impl RequestSender {
    /// Determines the sender of a request: the token from its headers, and the client address that the listener stored in its extensions.
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        Self {
            secret: secret(headers).map(str::to_owned),
            address: extensions.get().copied(),
        }
    }

    /// Returns the client address to which the request is charged, or `None` if it is not known.
    pub fn address(&self) -> Option<ClientAddress> {
        self.address
    }
}

impl fmt::Debug for RequestSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSender")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The memory budget for all requests in flight. Cheap to clone; all clones share the budget.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    shares: Arc<Shares>,
    /// Recognizes valid tokens. If `None`, every caller is treated as having no valid token.
    tokens: Option<Arc<dyn TokenValidity>>,
}

impl RequestMemory {
    /// Creates a budget of `bytes` of memory. A single body of `largest` bytes always fits, however small the budget, both for callers with
    /// a token and for callers without one.
    pub fn new(bytes: usize, largest: usize) -> Self {
        Self {
            shares: Arc::new(Shares::new(bytes / MEMORY_PER_BYTE, largest)),
            tokens: None,
        }
    }

    /// Creates a budget without a limit.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, 0)
    }

    /// Makes the budget use `tokens` to recognize callers with a valid token.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<dyn TokenValidity>) -> Self {
        Self {
            tokens: Some(tokens),
            ..self
        }
    }

    /// Returns the share to which a request is charged, without looking up its token: a token that was not recently found to be valid is
    /// treated like a missing one.
    pub fn holder(&self, from: &RequestSender) -> MemoryShare {
        let is_known = |tokens: &Arc<dyn TokenValidity>| from.secret.as_deref().is_some_and(|secret| tokens.is_known(secret));
        if self.tokens.as_ref().is_some_and(is_known) {
            MemoryShare::Authenticated
        } else {
            MemoryShare::Anonymous(from.address.map(ClientAddress::peer))
        }
    }

    /// Returns whether the token of a request is valid. Looks the token up unless it was recently found to be valid.
    pub async fn has_valid_token(&self, from: &RequestSender) -> bool {
        match (&self.tokens, from.secret.as_deref()) {
            (Some(tokens), Some(secret)) => tokens.is_known(secret) || tokens.look_up(from.address, secret).await,
            _ => false,
        }
    }

    /// Creates a charge against a holder's share, initially of zero bytes.
    pub fn charge(&self, holder: MemoryShare) -> MemoryCharge {
        MemoryCharge {
            memory: self.clone(),
            held: Mutex::new(Held {
                holder,
                bytes: 0,
                ahead: 0,
            }),
        }
    }

    /// Returns the total charged to all holders, in body bytes.
    pub fn used(&self) -> usize {
        self.shares.used()
    }

    /// Checks whether there is room to begin a request, before any of its body is charged.
    ///
    /// # Errors
    /// Returns [`Exhausted`] while the memory charged to the holder exceeds its share.
    pub fn check(&self, holder: MemoryShare) -> Result<(), Exhausted> {
        if !parley_fault::is_on(Protection::RequestMemory) {
            return Ok(());
        }
        Self::room(self.shares.check(holder, 0))
    }

    /// Counts a rejection in the metric for rejected calls, and returns `outcome` unchanged.
    fn room(outcome: Result<(), Exhausted>) -> Result<(), Exhausted> {
        if outcome.is_err() {
            REFUSED.add(1, &[KeyValue::new(names::REASON, "memory")]);
        }
        outcome
    }

    fn take(&self, holder: MemoryShare, bytes: usize) -> Result<(), Exhausted> {
        if !parley_fault::is_on(Protection::RequestMemory) {
            self.shares.charge_unchecked(holder, bytes);
            return Ok(());
        }
        if bytes == 0 {
            return Ok(());
        }
        Self::room(self.shares.take(holder, bytes))
    }
}

/// The memory charged to one request, released on drop.
#[derive(Debug)]
pub struct MemoryCharge {
    memory: RequestMemory,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    holder: MemoryShare,
    bytes: usize,
    /// The number of bytes that were charged in advance and have not arrived yet.
    ahead: usize,
}

impl MemoryCharge {
    /// Begins a body of `length` bytes. Charges the first `INITIAL_CHARGE` bytes of it, provided that the whole body would fit.
    ///
    /// # Errors
    /// Returns [`Exhausted`] if the whole body does not fit, in which case nothing is charged for it.
    pub fn begin(&self, length: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        let ahead = if parley_fault::is_on(Protection::MemoryShares) {
            length.min(INITIAL_CHARGE)
        } else {
            length
        };
        if parley_fault::is_on(Protection::RequestMemory) && length > 0 {
            RequestMemory::room(self.memory.shares.check(held.holder, length))?;
        }
        self.memory.take(held.holder, ahead)?;
        held.bytes += ahead;
        held.ahead += ahead;
        Ok(())
    }

    /// Charges body bytes that have arrived, except those that were charged when the body began.
    ///
    /// # Errors
    /// Returns [`Exhausted`] if the bytes do not fit, in which case the charge is unchanged.
    pub fn received(&self, bytes: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        let covered = held.ahead.min(bytes);
        self.memory.take(held.holder, bytes - covered)?;
        held.ahead -= covered;
        held.bytes += bytes - covered;
        Ok(())
    }

    /// Moves the charged bytes to the share of another holder. Later bytes are charged to that share as well.
    pub fn transfer(&self, to: MemoryShare) {
        let mut held = self.held();
        if held.holder != to {
            self.memory.shares.transfer(held.holder, to, held.bytes);
            held.holder = to;
        }
    }

    /// Returns the holder whose share of the memory budget is charged.
    pub fn holder(&self) -> MemoryShare {
        self.held().holder
    }

    /// Charges additional bytes of a body.
    ///
    /// # Errors
    /// Returns [`Exhausted`] if the bytes do not fit, in which case the charge is unchanged.
    pub fn add(&self, bytes: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        self.memory.take(held.holder, bytes)?;
        held.bytes += bytes;
        Ok(())
    }

    /// Releases `bytes` of the charge, or the whole charge if it is smaller.
    pub fn release(&self, bytes: usize) {
        let mut held = self.held();
        let bytes = bytes.min(held.bytes);
        self.memory.shares.release(held.holder, bytes);
        held.bytes -= bytes;
    }

    /// Releases the whole charge at the end of a body. Another body may begin afterwards.
    pub fn end(&self) {
        let mut held = self.held();
        self.memory.shares.release(held.holder, held.bytes);
        (held.bytes, held.ahead) = (0, 0);
    }

    /// Charges another `bytes` for data that is already in memory, even if that exceeds the budget.
    pub fn grow(&self, bytes: usize) {
        let mut held = self.held();
        self.memory.shares.charge_unchecked(held.holder, bytes);
        held.bytes += bytes;
    }

    /// Sets the charge to exactly `bytes`, for data that is already in memory, even if that exceeds the budget. Other requests are then
    /// rejected until there is room again.
    pub fn hold(&self, bytes: usize) {
        let mut held = self.held();
        if held.bytes == bytes {
            return;
        }
        self.memory.shares.release(held.holder, held.bytes);
        self.memory.shares.charge_unchecked(held.holder, bytes);
        held.bytes = bytes;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.memory.shares.release(held.holder, held.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_released() {
        let memory = RequestMemory::new(100 * MEMORY_PER_BYTE, 0);
        let (first, second) = (memory.charge(MemoryShare::Authenticated), memory.charge(MemoryShare::Authenticated));
        assert_eq!(first.add(60), Ok(()));
        assert_eq!(second.add(41), Err(Exhausted));
        assert_eq!(second.add(40), Ok(()));
        first.release(20);
        assert_eq!(memory.used(), 80);
        first.end();
        second.release(1000);
        assert_eq!(memory.used(), 0);
        assert_eq!(first.add(7), Ok(()));
        second.hold(101);
        let check = || memory.check(MemoryShare::Authenticated);
        assert_eq!((memory.used(), check(), first.add(1)), (108, Err(Exhausted), Err(Exhausted)));
        second.hold(1);
        assert_eq!((memory.used(), check()), (8, Ok(())));
        second.hold(0);
        first.transfer(MemoryShare::Anonymous(None));
        assert_eq!(memory.used(), 7);
        drop(first);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn body_is_charged_as_it_arrives() {
        let memory = RequestMemory::new(10_000 * MEMORY_PER_BYTE, 0);
        let idle: Vec<_> = (0..3)
            .map(|_| {
                let charge = memory.charge(MemoryShare::Authenticated);
                charge.begin(5000).unwrap();
                charge
            })
            .collect();
        assert_eq!(memory.used(), 3 * INITIAL_CHARGE);
        let body = memory.charge(MemoryShare::Authenticated);
        assert_eq!(
            body.begin(10_001 - 3 * INITIAL_CHARGE),
            Err(Exhausted),
            "refused for what it declares"
        );
        assert_eq!(body.begin(6000), Ok(()));
        drop(idle);
        for _ in 0..6 {
            body.received(1000).unwrap();
        }
        assert_eq!(memory.used(), 6000, "what was held ahead is not charged twice");
        body.end();
        assert_eq!(body.begin(10), Ok(()));
        assert_eq!(memory.used(), 10);
        assert_eq!(body.received(10_001), Err(Exhausted));
        assert_eq!(memory.used(), 10);
    }

    #[test]
    fn largest_body_is_always_accepted() {
        let memory = RequestMemory::new(0, 1000);
        let stranger = MemoryShare::Anonymous(None);
        assert_eq!(memory.charge(stranger).add(1000), Ok(()));
        assert_eq!(memory.charge(stranger).add(1001), Err(Exhausted));
    }
}
