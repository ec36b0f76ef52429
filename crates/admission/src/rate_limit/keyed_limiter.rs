//! A rate limiter with a separate quota for each key. To bound its memory, it evicts the states of the least recently used keys, which then
//! have their full quota again.

use std::{
    hash::Hash,
    num::{NonZeroU32, NonZeroUsize},
    sync::Mutex,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    nanos::Nanos,
    state::StateStore,
};
use lru::LruCache;

use super::{Exceeded, mutex::lock};

/// Maximum number of keys that one limiter remembers, at about 100 bytes each.
pub const MAX_KEYS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

/// The maximum burst, and the limiter that enforces the rate for each key. Quotas are counted in cells, the units of the GCRA algorithm.
type Cells<K> = (NonZeroU32, RateLimiter<K, Recent<K>, DefaultClock>);

/// A rate limit per key, which allows a burst of up to one minute's quota and replenishes the quota evenly.
#[derive(Debug)]
pub struct Limiter<K: Hash + Eq + Clone> {
    scope: &'static str,
    quota: &'static str,
    limit: u64,
    /// The limiter with its maximum burst, or `None` if there is no limit.
    cells: Option<Cells<K>>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Creates a limiter that allows `cells` units per minute for each key; 0 means no limit. The other parameters describe the limit in
    /// errors: `scope` names what it applies to, `quota` names what it counts, and `limit` is its value.
    pub fn new(scope: &'static str, quota: &'static str, limit: u64, cells: u32) -> Self {
        let limiter = |cells| {
            let store = Recent(Mutex::new(LruCache::new(MAX_KEYS)));
            (cells, RateLimiter::new(Quota::per_minute(cells), store, DefaultClock::default()))
        };
        Self {
            scope,
            quota,
            limit,
            cells: NonZeroU32::new(cells).map(limiter),
        }
    }

    /// Charges `cells` units to the quota of a key.
    ///
    /// # Errors
    /// Returns [`Exceeded`] if the quota of the key is exhausted.
    pub fn charge(&self, key: &K, cells: u32) -> Result<(), Exceeded> {
        let (Some((most, limiter)), Some(cells)) = (&self.cells, NonZeroU32::new(cells)) else {
            return Ok(());
        };
        // A charge larger than one minute's quota could never succeed, so reduce it to that quota.
        match limiter.check_key_n(key, cells.min(*most)) {
            Ok(Err(until)) => Err(self.exceeded(until.wait_time_from(limiter.clock().now()))),
            _ => Ok(()),
        }
    }

    /// Returns the error for a key that has to wait for `retry_after`.
    pub fn exceeded(&self, retry_after: Duration) -> Exceeded {
        Exceeded {
            scope: self.scope,
            quota: self.quota,
            limit: self.limit,
            // Rates of thousands per minute lead to waits of milliseconds. The minimum keeps a rejected client from retrying in a busy
            // loop.
            retry_after: retry_after.max(Duration::from_millis(100)),
        }
    }
}

/// The rate limiter states of the most recently used keys.
#[derive(Debug)]
struct Recent<K: Hash + Eq>(Mutex<LruCache<K, Nanos>>);

impl<K: Hash + Eq + Clone> StateStore for Recent<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut states = lock(&self.0);
        let (outcome, state) = f(states.get(key).copied())?;
        states.put(key.clone(), state);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limiter_memory_is_bounded() {
        let limiter = Limiter::new("address", "calls", 10, 10);
        for key in 0..100_000_u32 {
            limiter.charge(&key, 1).unwrap();
        }
        let (_, limiter) = limiter.cells.unwrap();
        assert_eq!(lock(&limiter.into_state_store().0).len(), MAX_KEYS.get());
    }
}
