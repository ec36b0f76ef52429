//! The memory of all requests in flight: one budget for every listener.
//!
//! A request is charged for the bytes of its body as they arrive; one that declares a length is refused at once when that length does not
//! fit. What is built from a byte (text, trees, encoded and decoded messages) takes up to [`FACTOR`] bytes; so a budget of N bytes takes
//! N / [`FACTOR`] bytes of bodies. Beyond it a request is refused and may be sent again. Streams are charged for the message that is being
//! read, those of reflection for what they leave unread, uploads for what waits to be stored, `WebSockets` for their buffers and for what waits
//! for their client, and answers for what their client has not taken yet: an encoded byte takes one byte, so [`FACTOR`] of them count as one
//! byte of a body.
//!
//! Bytes that were only declared take no memory. Holding them too would let a few requests that never send their bodies refuse all others.

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
pub use shares::{Exhausted, Holder};

/// Bytes of memory that one byte of a body may take.
pub const FACTOR: usize = 8;

/// Bytes of a body that are charged when it begins: 8 KiB of memory, for the request itself and what was read ahead.
const WINDOW: usize = 1024;

static REFUSED: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter(names::CALLS_REJECTED).with_unit("{call}").build());

/// Tells good tokens from others.
pub trait KnownTokens: fmt::Debug + Send + Sync {
    /// Whether a secret was good lately. Asks nobody.
    fn is_known(&self, secret: &str) -> bool;

    /// Whether a secret is good. It is looked up, and a bad one is counted as a failed authentication of the address.
    fn look_up<'a>(&'a self, address: Option<ClientAddress>, secret: &'a str) -> BoxFuture<'a, bool>;
}

/// Who sent a request, as it says itself.
#[derive(Clone, Default)]
pub struct Sender {
    secret: Option<String>,
    address: Option<ClientAddress>,
}

impl Sender {
    /// Of a request whose listener stored the address of its client.
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        Self {
            secret: secret(headers).map(str::to_owned),
            address: extensions.get().copied(),
        }
    }

    /// The address that it is charged to, as far as that is known.
    pub fn address(&self) -> Option<ClientAddress> {
        self.address
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The budget. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    shares: Arc<Shares>,
    /// None: no token is known.
    tokens: Option<Arc<dyn KnownTokens>>,
}

impl RequestMemory {
    /// A budget of `bytes` of memory. A single body of `largest` bytes always has room, however small the budget, beside those of callers
    /// with a token and without one.
    pub fn new(bytes: usize, largest: usize) -> Self {
        Self {
            shares: Arc::new(Shares::new(bytes / FACTOR, largest)),
            tokens: None,
        }
    }

    /// A budget without an end.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, 0)
    }

    /// The same budget, whose shares of callers with a good token are told by `tokens`.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<dyn KnownTokens>) -> Self {
        Self {
            tokens: Some(tokens),
            ..self
        }
    }

    /// Whose share a request uses, as far as is known without asking.
    pub fn holder(&self, from: &Sender) -> Holder {
        let is_known = |tokens: &Arc<dyn KnownTokens>| from.secret.as_deref().is_some_and(|secret| tokens.is_known(secret));
        if self.tokens.as_ref().is_some_and(is_known) {
            Holder::Known
        } else {
            Holder::Anonymous(from.address.map(ClientAddress::peer))
        }
    }

    /// Whether a request shows a token that is good; it is looked up if it was not known yet.
    pub async fn has_good_token(&self, from: &Sender) -> bool {
        match (&self.tokens, from.secret.as_deref()) {
            (Some(tokens), Some(secret)) => tokens.is_known(secret) || tokens.look_up(from.address, secret).await,
            _ => false,
        }
    }

    /// A request that holds nothing yet.
    pub fn charge(&self, holder: Holder) -> Charge {
        Charge {
            memory: self.clone(),
            held: Mutex::new(Held {
                holder,
                bytes: 0,
                ahead: 0,
            }),
        }
    }

    /// Bytes of bodies that are charged now.
    pub fn used(&self) -> usize {
        self.shares.used()
    }

    /// Whether a request may begin whose body is not charged yet.
    ///
    /// # Errors
    /// [`Exhausted`] while more is held than there is room for.
    pub fn check(&self, holder: Holder) -> Result<(), Exhausted> {
        if !parley_fault::is_on(Protection::RequestMemory) {
            return Ok(());
        }
        Self::room(self.shares.check(holder, 0))
    }

    /// Counts a refusal.
    fn room(outcome: Result<(), Exhausted>) -> Result<(), Exhausted> {
        if outcome.is_err() {
            REFUSED.add(1, &[KeyValue::new(names::REASON, "memory")]);
        }
        outcome
    }

    fn take(&self, holder: Holder, bytes: usize) -> Result<(), Exhausted> {
        if !parley_fault::is_on(Protection::RequestMemory) {
            self.shares.force(holder, bytes);
            return Ok(());
        }
        if bytes == 0 {
            return Ok(());
        }
        Self::room(self.shares.take(holder, bytes))
    }
}

/// What one request holds; given back when this is dropped.
#[derive(Debug)]
pub struct Charge {
    memory: RequestMemory,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    holder: Holder,
    bytes: usize,
    /// Of those, how many did not come yet.
    ahead: usize,
}

impl Charge {
    /// Begins a body of so many bytes: holds a little of it, if all of it fits.
    ///
    /// # Errors
    /// [`Exhausted`] when it does not fit what is left; nothing more is held then.
    pub fn begin(&self, length: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        let ahead = if parley_fault::is_on(Protection::MemoryShares) {
            length.min(WINDOW)
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

    /// Holds bytes of a body that came, as far as they were not held when it began.
    ///
    /// # Errors
    /// [`Exhausted`]; it then holds what it held before.
    pub fn came(&self, bytes: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        let covered = held.ahead.min(bytes);
        self.memory.take(held.holder, bytes - covered)?;
        held.ahead -= covered;
        held.bytes += bytes - covered;
        Ok(())
    }

    /// Lets the share of another holder have what this holds, and will hold.
    pub fn transfer(&self, to: Holder) {
        let mut held = self.held();
        if held.holder != to {
            self.memory.shares.transfer(held.holder, to, held.bytes);
            held.holder = to;
        }
    }

    /// Whose share it uses.
    pub fn holder(&self) -> Holder {
        self.held().holder
    }

    /// Holds so many bytes of body more.
    ///
    /// # Errors
    /// [`Exhausted`]; it then holds what it held before.
    pub fn add(&self, bytes: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        self.memory.take(held.holder, bytes)?;
        held.bytes += bytes;
        Ok(())
    }

    /// Gives back so many bytes of body, or all that are held if those are fewer.
    pub fn release(&self, bytes: usize) {
        let mut held = self.held();
        let bytes = bytes.min(held.bytes);
        self.memory.shares.give(held.holder, bytes);
        held.bytes -= bytes;
    }

    /// Gives back all that is held: a body ended, and another may begin.
    pub fn end(&self) {
        let mut held = self.held();
        self.memory.shares.give(held.holder, held.bytes);
        (held.bytes, held.ahead) = (0, 0);
    }

    /// Holds so many bytes of body more, whether or not there is room: for what exists already.
    pub fn grow(&self, bytes: usize) {
        let mut held = self.held();
        self.memory.shares.force(held.holder, bytes);
        held.bytes += bytes;
    }

    /// Holds exactly so many bytes of body, whether or not there is room: for what exists already. Requests are refused until there is.
    pub fn hold(&self, bytes: usize) {
        let mut held = self.held();
        if held.bytes == bytes {
            return;
        }
        self.memory.shares.give(held.holder, held.bytes);
        self.memory.shares.force(held.holder, bytes);
        held.bytes = bytes;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.memory.shares.give(held.holder, held.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_given_back() {
        let memory = RequestMemory::new(100 * FACTOR, 0);
        let (first, second) = (memory.charge(Holder::Known), memory.charge(Holder::Known));
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
        let check = || memory.check(Holder::Known);
        assert_eq!((memory.used(), check(), first.add(1)), (108, Err(Exhausted), Err(Exhausted)));
        second.hold(1);
        assert_eq!((memory.used(), check()), (8, Ok(())));
        second.hold(0);
        first.transfer(Holder::Anonymous(None));
        assert_eq!(memory.used(), 7);
        drop(first);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_body_is_charged_as_it_comes() {
        let memory = RequestMemory::new(10_000 * FACTOR, 0);
        let idle: Vec<_> = (0..3)
            .map(|_| {
                let charge = memory.charge(Holder::Known);
                charge.begin(5000).unwrap();
                charge
            })
            .collect();
        assert_eq!(memory.used(), 3 * WINDOW);
        let body = memory.charge(Holder::Known);
        assert_eq!(body.begin(10_001 - 3 * WINDOW), Err(Exhausted), "refused for what it declares");
        assert_eq!(body.begin(6000), Ok(()));
        drop(idle);
        for _ in 0..6 {
            body.came(1000).unwrap();
        }
        assert_eq!(memory.used(), 6000, "what was held ahead is not charged twice");
        body.end();
        assert_eq!(body.begin(10), Ok(()));
        assert_eq!(memory.used(), 10);
        assert_eq!(body.came(10_001), Err(Exhausted));
        assert_eq!(memory.used(), 10);
    }

    #[test]
    fn the_largest_body_always_has_room() {
        let memory = RequestMemory::new(0, 1000);
        let stranger = Holder::Anonymous(None);
        assert_eq!(memory.charge(stranger).add(1000), Ok(()));
        assert_eq!(memory.charge(stranger).add(1001), Err(Exhausted));
    }
}
