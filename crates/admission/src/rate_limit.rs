//! Limits for callers without a token: rates per client address and per inbox, and open streams, downloads and uploads per address.
//!
//! Each replica counts on its own, because a shared count would add a round trip to every call. Memory is bounded (see `keyed_limiter`):
//! when the state of an address is evicted, the address has its full quota again, but the quotas of the inbox still apply.

mod address_rates;
mod body_throttle;
mod keyed_limiter;
mod mutex;
mod open;
mod processing_slots;

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use governor::{
    Quota, RateLimiter,
    clock::DefaultClock,
    state::{InMemoryState, NotKeyed},
};
use lru::LruCache;
use parley_fault::Protection;
use parley_types::id::InboxId;

use crate::client_address::ClientAddress;
pub use address_rates::{Activity, Rates};
use address_rates::{BYTES_PER_CELL, ByAddress, Limiters, PROXY_RATE_FACTOR};
pub use body_throttle::BodyThrottle;
use keyed_limiter::MAX_KEYS;
use mutex::lock;
pub use open::{Permit, Resource};
pub use parley_types::error::Exceeded;
pub use processing_slots::ProcessingSlot;

/// The average rate and the maximum burst of log lines about failed authentication.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const LOG_LINES_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// The limits for callers without a token. 0 means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Rates per client address.
    pub address: Rates,
    /// Rates per inbox, for all its callers without a token combined.
    pub inbox: Rates,
    /// Calls and requests of any kind per address and minute.
    pub calls: u32,
    /// Failed authentications per address and minute.
    pub failed_authentications: u32,
    /// Open pubsub streams, WebSocket connections and health watches per address.
    pub streams: usize,
    /// Open reflection streams per address.
    pub reflection_streams: usize,
    /// Open downloads per address.
    pub downloads: usize,
    /// Uploads in progress per address.
    pub uploads: usize,
}

/// Marks a request as already charged. The gateway charges an HTTP request before it reads the body, so the in-process gRPC call that it
/// then makes must not be charged again.
#[derive(Clone, Copy, Debug)]
pub struct Charged;

/// Enforces the limits for callers without a token.
#[derive(Debug)]
pub struct AnonymousLimits {
    config: Config,
    address: Limiters<ClientAddress>,
    /// Rate limiters for undeclared proxies, whose limits are higher than those for client addresses.
    proxy: Limiters<ClientAddress>,
    inbox: Limiters<InboxId>,
    calls: ByAddress,
    failed: ByAddress,
    /// The time until which an address that exhausted its quota of failed authentications is rejected without a token lookup.
    blocked_until: Mutex<LruCache<ClientAddress, Instant>>,
    open: open::Counts,
    processing_slots: processing_slots::ProcessingSlots,
    lines: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    /// The number of log lines about failed authentication that were suppressed since one was last written.
    suppressed: AtomicU64,
}

impl AnonymousLimits {
    /// Creates the limits that `config` specifies.
    pub fn new(config: Config) -> Arc<Self> {
        let config = if parley_fault::is_on(Protection::AnonymousLimits) {
            config
        } else {
            Config::default()
        };
        Arc::new(Self {
            address: Limiters::new("address", config.address),
            proxy: Limiters::new("address", config.address.times(PROXY_RATE_FACTOR)),
            inbox: Limiters::new("inbox", config.inbox),
            calls: ByAddress::new("calls without a token a minute", config.calls),
            failed: ByAddress::new("failed authentications a minute", config.failed_authentications),
            blocked_until: Mutex::new(LruCache::new(MAX_KEYS)),
            open: open::Counts::default(),
            processing_slots: processing_slots::ProcessingSlots::new(),
            lines: RateLimiter::direct(Quota::per_second(LINES_PER_SECOND).allow_burst(LOG_LINES_BURST)),
            suppressed: AtomicU64::new(0),
            config,
        })
    }

    /// Charges one call or request.
    ///
    /// # Errors
    /// Returns [`Exceeded`] if the address has exhausted its rate.
    pub fn call(&self, address: Option<ClientAddress>) -> Result<(), Exceeded> {
        address.map_or(Ok(()), |address| self.calls.charge(address))
    }

    /// Charges an activity in an inbox to the caller's address and to the inbox.
    ///
    /// # Errors
    /// Returns [`Exceeded`] if the address or the inbox has exhausted its rate.
    pub fn charge(&self, address: Option<ClientAddress>, inbox: InboxId, activity: Activity) -> Result<(), Exceeded> {
        if let Some((address, rates)) = self.of_address(address) {
            rates.of(activity).charge(&address, 1)?;
        }
        self.inbox.of(activity).charge(&inbox, 1)
    }

    /// Charges bytes sent to an inbox, both to the caller's address and to the inbox.
    ///
    /// # Errors
    /// Returns [`Exceeded`] if the address or the inbox has exhausted its rate.
    pub fn bytes(&self, address: Option<ClientAddress>, inbox: InboxId, bytes: usize) -> Result<(), Exceeded> {
        let cells = u32::try_from(bytes.div_ceil(BYTES_PER_CELL)).unwrap_or(u32::MAX);
        if let Some((address, rates)) = self.of_address(address) {
            rates.bytes.charge(&address, cells)?;
        }
        self.inbox.bytes.charge(&inbox, cells)
    }

    /// Returns the rate limiters that apply to an address, or `None` if the address is unknown. Also returns `None` for an undeclared proxy
    /// if a test has disabled the limits for such proxies.
    fn of_address(&self, address: Option<ClientAddress>) -> Option<(ClientAddress, &Limiters<ClientAddress>)> {
        let address = address?;
        match address {
            ClientAddress::Client(_) => Some((address, &self.address)),
            ClientAddress::UndeclaredProxy(_) => parley_fault::is_on(Protection::ProxyLimits).then_some((address, &self.proxy)),
        }
    }

    /// Counts an open resource until the permit is dropped. A request from an untrusted peer is counted under that peer whether or not it
    /// has a forwarding header, so sending the header has no advantage.
    ///
    /// # Errors
    /// Returns [`Exceeded`] if the address already has the maximum number of such resources open.
    pub fn open(&self, address: Option<ClientAddress>, resource: Resource) -> Result<Permit, Exceeded> {
        let most = match resource {
            Resource::Stream => self.config.streams,
            Resource::Reflection => self.config.reflection_streams,
            Resource::Download => self.config.downloads,
            Resource::Upload => self.config.uploads,
        };
        self.open.open(address, resource, most)
    }

    /// Waits until a call may be processed. The caller must hold the returned slot until the call is finished. Returns `None` if a test
    /// disables this limit. Call this only once the request has arrived completely: how long a processing slot is held must not depend on
    /// the client.
    pub async fn processing_slot(&self, address: Option<ClientAddress>) -> Option<ProcessingSlot> {
        self.processing_slots.processing_slot(address).await
    }

    /// Charges a failed authentication.
    ///
    /// # Errors
    /// Returns [`Exceeded`] if there were too many failed authentications from the address. From then on, [`Self::may_authenticate`] also
    /// returns this error, until the address has quota again.
    pub fn failed(&self, address: Option<ClientAddress>) -> Result<(), Exceeded> {
        let Some(address) = address else { return Ok(()) };
        self.failed.charge(address).inspect_err(|exceeded| {
            let until = Instant::now() + exceeded.retry_after;
            lock(&self.blocked_until).put(address, until);
        })
    }

    /// Checks whether an address may authenticate with a token that has not recently been found valid.
    ///
    /// # Errors
    /// Returns [`Exceeded`] after too many failed authentications.
    pub fn may_authenticate(&self, address: Option<ClientAddress>) -> Result<(), Exceeded> {
        let Some(address) = address else { return Ok(()) };
        let mut blocked_until = lock(&self.blocked_until);
        if blocked_until.is_empty() {
            return Ok(());
        }
        let Some(until) = blocked_until.get(&address).copied() else {
            return Ok(());
        };
        let retry_after = until.saturating_duration_since(Instant::now());
        if retry_after.is_zero() {
            blocked_until.pop(&address);
            return Ok(());
        }
        Err(self.failed.exceeded(address, retry_after))
    }

    /// Checks whether a failed authentication may be logged now. If so, returns the number of log lines that were suppressed since the last
    /// one was written. Otherwise, counts a suppressed line and returns `None`.
    pub fn may_log(&self) -> Option<u64> {
        if self.lines.check().is_ok() {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> ClientAddress {
        ClientAddress::Client([192, 0, 2, last].into())
    }

    const PROXY: ClientAddress = ClientAddress::UndeclaredProxy(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// Returns how many of `tries` charges succeed.
    fn passed(tries: u32, charge: impl Fn() -> Result<(), Exceeded>) -> u32 {
        let passed = (0..tries).filter(|_| charge().is_ok()).count();
        u32::try_from(passed).unwrap()
    }

    #[test]
    fn addresses_and_inboxes_have_separate_rates() {
        let rates = |sessions| Rates {
            sessions,
            ..Rates::default()
        };
        let limits = AnonymousLimits::new(Config {
            address: rates(3),
            inbox: rates(5),
            ..Config::default()
        });
        let session = |last, inbox| limits.charge(Some(address(last)), InboxId(inbox), Activity::Session);
        assert_eq!(passed(10, || session(1, 1)), 3);
        assert_eq!(passed(10, || session(2, 1)), 2, "the inbox has two left");
        let exceeded = session(3, 1).unwrap_err();
        assert_eq!(
            (exceeded.scope, exceeded.quota, exceeded.limit),
            ("inbox", "new sessions a minute", 5)
        );
        assert!(exceeded.retry_after <= Duration::from_secs(12), "{exceeded:?}");
        assert_eq!(passed(10, || session(4, 2)), 3, "another inbox");
        // For an undeclared proxy, the rate of the inbox applies, and over all inboxes the rate of ten addresses.
        let proxied = |inbox| limits.charge(Some(PROXY), InboxId(inbox), Activity::Session);
        assert_eq!(passed(10, || proxied(3)), 5);
        let of_many: u32 = (10..30).map(|inbox| passed(5, || proxied(inbox))).sum();
        // Attempts that the inbox's rate rejected were charged to the proxy as well.
        assert!((20..=25).contains(&of_many), "{of_many}");
        assert_eq!(
            passed(100, || limits.charge(Some(address(5)), InboxId(4), Activity::Message)),
            100,
            "no limit"
        );
    }

    #[test]
    fn bytes_of_all_calls_count_toward_the_rate() {
        let rates = Rates {
            bytes: 10 * 1024,
            ..Rates::default()
        };
        let limits = AnonymousLimits::new(Config {
            address: rates,
            ..Config::default()
        });
        let send = |bytes| limits.bytes(Some(address(1)), InboxId(1), bytes);
        assert_eq!(passed(20, || send(2048)), 5);
        assert!(send(1).is_err());
        assert!(
            limits.bytes(Some(address(2)), InboxId(1), 1 << 40).is_ok(),
            "more than all of it takes all of it"
        );
        assert!(limits.bytes(Some(address(2)), InboxId(1), 1).is_err());
    }

    #[test]
    fn repeated_authentication_failures_suspend_lookups() {
        let limits = AnonymousLimits::new(Config {
            failed_authentications: 2,
            ..Config::default()
        });
        assert_eq!(passed(5, || limits.failed(Some(address(1)))), 2);
        assert!(limits.may_authenticate(Some(address(1))).is_err());
        assert!(limits.may_authenticate(Some(address(2))).is_ok());
        assert_eq!(passed(50, || limits.failed(Some(PROXY))), 2 * PROXY_RATE_FACTOR);
        assert_eq!(limits.may_log(), Some(0));
        let logged = (0..1000).filter(|_| limits.may_log().is_some()).count();
        assert!(logged <= 110, "{logged} lines");
    }

    #[test]
    fn blocked_address_count_is_bounded() {
        let limits = AnonymousLimits::new(Config {
            failed_authentications: 1,
            ..Config::default()
        });
        for number in 0..100_000_u32 {
            let address = ClientAddress::Client(std::net::Ipv6Addr::from(u128::from(number) << 64).into());
            let _ = (limits.failed(Some(address)), limits.failed(Some(address)));
        }
        assert_eq!(lock(&limits.blocked_until).len(), MAX_KEYS.get());
    }
}
