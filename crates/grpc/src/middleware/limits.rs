//! Limits on calls and streams, per token and in total. Each replica counts its own calls and streams.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use parley_types::{
    error::{Error, Result},
    id::{ContactInboxId, TokenId, UserId},
};

use crate::meter::InFlightGuard;

/// The configured limits. 0 means unlimited.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    /// Average number of calls per second that a token may make.
    pub calls_per_second: u32,
    /// The burst size: the number of calls that a token may make at once.
    pub burst: u32,
    /// Maximum number of calls in flight, for all tokens together. Streams are not counted.
    pub calls: i64,
    /// Maximum number of open streams per token.
    pub streams: usize,
}

/// The party whose limit on open streams a stream counts against. Streams opened with a pubsub token count against its user or contact
/// session, each of which has exactly one pubsub token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamOwner {
    /// The access token that opened the stream.
    Token(TokenId),
    /// The user whose pubsub token opened the stream.
    User(UserId),
    /// The contact session whose pubsub token opened the stream.
    Session(ContactInboxId),
}

type Rates = RateLimiter<TokenId, DashMapStateStore<TokenId>, DefaultClock, StateInformationMiddleware>;

/// Counts calls and streams, and rejects those that exceed a limit.
#[derive(Debug)]
pub struct Limits {
    config: LimitsConfig,
    rates: Option<Rates>,
    /// The number of calls since the state of idle tokens was last removed.
    calls_since_cleanup: AtomicU32,
    streams: Mutex<HashMap<StreamOwner, usize>>,
}

/// The number of calls after which the state of idle tokens is removed.
const CLEANUP_INTERVAL: u32 = 1 << 16;

/// The remaining rate limit of a token. It is reported in each response, in the headers that draft-ietf-httpapi-ratelimit-headers defines.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitState {
    limit: u32,
    remaining: u32,
    reset: u64,
}

/// The header names for the fields of [`RateLimitState`], in the order of their declaration.
pub const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

impl RateLimitState {
    /// Writes the state of the rate limit to the headers of a response.
    pub fn write_headers(self, headers: &mut HeaderMap) {
        let values = [u64::from(self.limit), u64::from(self.remaining), self.reset];
        for (name, value) in HEADERS.into_iter().zip(values) {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

impl Limits {
    /// Creates the counters for the limits in `config`.
    pub fn new(config: LimitsConfig) -> Self {
        let rates = NonZeroU32::new(config.calls_per_second).map(|rate| {
            let burst = NonZeroU32::new(config.burst).unwrap_or(rate);
            RateLimiter::dashmap(Quota::per_second(rate).allow_burst(burst)).with_middleware::<StateInformationMiddleware>()
        });
        Self {
            config,
            rates,
            calls_since_cleanup: AtomicU32::new(0),
            streams: Mutex::default(),
        }
    }

    /// Counts a call in flight until the guard is dropped. Returns `None` if the limit has been reached.
    pub fn begin_call(&self) -> Option<InFlightGuard> {
        let (call, active) = InFlightGuard::begin();
        (self.config.calls == 0 || active <= self.config.calls).then_some(call)
    }

    /// Charges a call to its token and returns the remaining rate limit, or `None` if there is no limit.
    ///
    /// # Errors
    /// Returns [`Error::RateLimited`] and the state of the limit if the token has exceeded its rate.
    pub fn charge(&self, token: TokenId) -> Result<Option<RateLimitState>, Box<(Error, RateLimitState)>> {
        let Some(rates) = &self.rates else { return Ok(None) };
        if self.calls_since_cleanup.fetch_add(1, Ordering::Relaxed) >= CLEANUP_INTERVAL {
            self.calls_since_cleanup.store(0, Ordering::Relaxed);
            rates.retain_recent();
        }
        let (limit, rate) = (self.config.burst.max(1), u64::from(self.config.calls_per_second));
        match rates.check_key(&token) {
            Ok(state) => {
                let (limit, remaining) = (state.quota().burst_size().get(), state.remaining_burst_capacity());
                let reset = u64::from(limit - remaining.min(limit)).div_ceil(rate);
                Ok(Some(RateLimitState { limit, remaining, reset }))
            }
            Err(until) => {
                let retry_after = until.wait_time_from(rates.clock().now());
                let state = RateLimitState {
                    limit: until.quota().burst_size().get().max(limit),
                    remaining: 0,
                    reset: u64::from(limit).div_ceil(rate),
                };
                let error = Error::RateLimited {
                    limit: self.config.calls_per_second,
                    retry_after,
                };
                Err(Box::new((error, state)))
            }
        }
    }

    /// Counts an open stream until the guard is dropped.
    ///
    /// # Errors
    /// Returns [`Error::TooManyStreams`] if the owner has as many streams open as allowed.
    pub fn open_stream(self: &Arc<Self>, owner: StreamOwner) -> Result<OpenStreamGuard> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let open = streams.entry(owner).or_default();
        if self.config.streams > 0 && *open >= self.config.streams {
            return Err(Error::TooManyStreams(self.config.streams));
        }
        *open += 1;
        Ok(OpenStreamGuard {
            limits: Arc::clone(self),
            owner,
        })
    }
}

/// Counts a stream against the limit of its owner while it is alive.
#[derive(Debug)]
pub struct OpenStreamGuard {
    limits: Arc<Limits>,
    owner: StreamOwner,
}

impl Drop for OpenStreamGuard {
    fn drop(&mut self) {
        let mut streams = self.limits.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = streams.get_mut(&self.owner) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(config: LimitsConfig) -> Arc<Limits> {
        Arc::new(Limits::new(config))
    }

    const NONE: LimitsConfig = LimitsConfig {
        calls_per_second: 0,
        burst: 0,
        calls: 0,
        streams: 0,
    };

    #[test]
    fn refuses_a_token_beyond_its_rate_with_a_retry_delay() {
        let limits = limits(LimitsConfig {
            calls_per_second: 1,
            burst: 3,
            ..NONE
        });
        let left: Vec<u32> = (0..3).map(|_| limits.charge(TokenId(1)).unwrap().unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let (error, left) = *limits.charge(TokenId(1)).unwrap_err();
        let Error::RateLimited { limit: 1, retry_after } = error else {
            panic!("{error}")
        };
        assert!(retry_after <= Duration::from_secs(1) && !retry_after.is_zero(), "{retry_after:?}");
        assert_eq!((left.limit, left.remaining), (3, 0));
        assert!(limits.charge(TokenId(2)).is_ok(), "another token has its own");
    }

    #[test]
    fn counts_nothing_without_a_limit() {
        let limits = limits(NONE);
        assert!((0..10_000).all(|_| limits.charge(TokenId(1)).is_ok_and(|left| left.is_none())));
        let open: Vec<_> = (0..1000)
            .map(|_| limits.open_stream(StreamOwner::Token(TokenId(1))).unwrap())
            .collect();
        drop(open);
        assert!(limits.streams.lock().unwrap().is_empty());
    }

    #[test]
    fn counts_streams_while_they_are_open() {
        let limits = limits(LimitsConfig { streams: 2, ..NONE });
        let (first, _second) = (
            limits.open_stream(StreamOwner::Token(TokenId(1))).unwrap(),
            limits.open_stream(StreamOwner::Token(TokenId(1))).unwrap(),
        );
        assert!(matches!(
            limits.open_stream(StreamOwner::Token(TokenId(1))),
            Err(Error::TooManyStreams(2))
        ));
        assert!(limits.open_stream(StreamOwner::Token(TokenId(2))).is_ok());
        drop(first);
        assert!(limits.open_stream(StreamOwner::Token(TokenId(1))).is_ok());
    }
}
