//! How much one token, and all together, may ask for at once.

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

use crate::meter::InWork;

/// What the operator allows. 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Calls of one token within a second, on average.
    pub calls_per_second: u32,
    /// Calls of one token that may come at once.
    pub burst: u32,
    /// Calls in work at once, of all tokens.
    pub calls: i64,
    /// Streams of one token.
    pub streams: usize,
}

/// Who holds streams: whoever showed a token, or a pubsub token, of which users and contacts' sessions have one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// An access token.
    Token(TokenId),
    /// A user's pubsub token.
    User(UserId),
    /// That of a contact's session.
    Session(ContactInboxId),
}

type Rates = RateLimiter<TokenId, DashMapStateStore<TokenId>, DefaultClock, StateInformationMiddleware>;

/// Keeps to the limits. Each replica counts for itself.
#[derive(Debug)]
pub struct Limits {
    config: Config,
    rates: Option<Rates>,
    /// Calls since tokens that rest were last forgotten.
    since: AtomicU32,
    streams: Mutex<HashMap<Holder, usize>>,
}

/// After how many calls tokens that rest are forgotten.
const FORGET: u32 = 1 << 16;

/// What a token has left, told with each answer by the names of draft-ietf-httpapi-ratelimit-headers.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    limit: u32,
    remaining: u32,
    reset: u64,
}

/// The names in [`Left`].
pub const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

impl Left {
    /// Writes it into the headers of an answer.
    pub fn tell(self, headers: &mut HeaderMap) {
        let values = [u64::from(self.limit), u64::from(self.remaining), self.reset];
        for (name, value) in HEADERS.into_iter().zip(values) {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

impl Limits {
    /// Keeps to these limits.
    pub fn new(config: Config) -> Self {
        let rates = NonZeroU32::new(config.calls_per_second).map(|rate| {
            let burst = NonZeroU32::new(config.burst).unwrap_or(rate);
            RateLimiter::dashmap(Quota::per_second(rate).allow_burst(burst)).with_middleware::<StateInformationMiddleware>()
        });
        Self {
            config,
            rates,
            since: AtomicU32::new(0),
            streams: Mutex::default(),
        }
    }

    /// Lets a call in, before anything is done for it; none when as many are in work as may be.
    pub fn enter(&self) -> Option<InWork> {
        let (call, active) = InWork::begin();
        (self.config.calls == 0 || active <= self.config.calls).then_some(call)
    }

    /// Counts a call of a token; what it has left, where there is a limit.
    ///
    /// # Errors
    /// [`Error::TooFast`].
    pub fn call(&self, token: TokenId) -> Result<Option<Left>, Box<(Error, Left)>> {
        let Some(rates) = &self.rates else { return Ok(None) };
        if self.since.fetch_add(1, Ordering::Relaxed) >= FORGET {
            self.since.store(0, Ordering::Relaxed);
            rates.retain_recent();
        }
        let (limit, rate) = (self.config.burst.max(1), u64::from(self.config.calls_per_second));
        match rates.check_key(&token) {
            Ok(state) => {
                let (limit, remaining) = (state.quota().burst_size().get(), state.remaining_burst_capacity());
                let reset = u64::from(limit - remaining.min(limit)).div_ceil(rate);
                Ok(Some(Left { limit, remaining, reset }))
            }
            Err(until) => {
                let retry_after = until.wait_time_from(rates.clock().now());
                let left = Left {
                    limit: until.quota().burst_size().get().max(limit),
                    remaining: 0,
                    reset: u64::from(limit).div_ceil(rate),
                };
                let error = Error::TooFast {
                    limit: self.config.calls_per_second,
                    retry_after,
                };
                Err(Box::new((error, left)))
            }
        }
    }

    /// Takes a place for a stream.
    ///
    /// # Errors
    /// [`Error::TooManyStreams`].
    pub fn stream(self: &Arc<Self>, holder: Holder) -> Result<Stream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let open = streams.entry(holder).or_default();
        if self.config.streams > 0 && *open >= self.config.streams {
            return Err(Error::TooManyStreams(self.config.streams));
        }
        *open += 1;
        Ok(Stream {
            limits: Arc::clone(self),
            holder,
        })
    }
}

/// A stream that is counted for as long as this lives.
#[derive(Debug)]
pub struct Stream {
    limits: Arc<Limits>,
    holder: Holder,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = self.limits.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = streams.get_mut(&self.holder) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(config: Config) -> Arc<Limits> {
        Arc::new(Limits::new(config))
    }

    const NONE: Config = Config {
        calls_per_second: 0,
        burst: 0,
        calls: 0,
        streams: 0,
    };

    #[test]
    fn a_token_that_asks_too_often_is_told_when_to_come_again() {
        let limits = limits(Config {
            calls_per_second: 1,
            burst: 3,
            ..NONE
        });
        let left: Vec<u32> = (0..3).map(|_| limits.call(TokenId(1)).unwrap().unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let (error, left) = *limits.call(TokenId(1)).unwrap_err();
        let Error::TooFast { limit: 1, retry_after } = error else {
            panic!("{error}")
        };
        assert!(retry_after <= Duration::from_secs(1) && !retry_after.is_zero(), "{retry_after:?}");
        assert_eq!((left.limit, left.remaining), (3, 0));
        assert!(limits.call(TokenId(2)).is_ok(), "another token has its own");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let limits = limits(NONE);
        assert!((0..10_000).all(|_| limits.call(TokenId(1)).is_ok_and(|left| left.is_none())));
        let open: Vec<_> = (0..1000).map(|_| limits.stream(Holder::Token(TokenId(1))).unwrap()).collect();
        drop(open);
        assert!(limits.streams.lock().unwrap().is_empty());
    }

    #[test]
    fn streams_are_counted_while_they_live() {
        let limits = limits(Config { streams: 2, ..NONE });
        let (first, _second) = (
            limits.stream(Holder::Token(TokenId(1))).unwrap(),
            limits.stream(Holder::Token(TokenId(1))).unwrap(),
        );
        assert!(matches!(limits.stream(Holder::Token(TokenId(1))), Err(Error::TooManyStreams(2))));
        assert!(limits.stream(Holder::Token(TokenId(2))).is_ok());
        drop(first);
        assert!(limits.stream(Holder::Token(TokenId(1))).is_ok());
    }
}
