//! A rate of each of many keys, in bounded memory: the states of the least recently seen keys are dropped, which gives whoever comes back a full
//! quota.

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

/// Keys that one limiter remembers: about 100 bytes each.
pub const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

/// A rate of each key, and how many may come at once.
type Cells<K> = (NonZeroU32, RateLimiter<K, Recent<K>, DefaultClock>);

/// A rate of each key: a minute's worth at once, then evenly.
#[derive(Debug)]
pub struct Limiter<K: Hash + Eq + Clone> {
    scope: &'static str,
    quota: &'static str,
    limit: u64,
    /// None without a limit.
    cells: Option<Cells<K>>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// `limit` of what `quota` names a minute, counted in `cells`; 0 is no limit. `scope` says whose quota it is.
    pub fn new(scope: &'static str, quota: &'static str, limit: u64, cells: u32) -> Self {
        let limiter = |cells| {
            let store = Recent(Mutex::new(LruCache::new(REMEMBERED)));
            (cells, RateLimiter::new(Quota::per_minute(cells), store, DefaultClock::default()))
        };
        Self {
            scope,
            quota,
            limit,
            cells: NonZeroU32::new(cells).map(limiter),
        }
    }

    /// Charges a key.
    ///
    /// # Errors
    /// [`Exceeded`] when its quota is used up.
    pub fn charge(&self, key: &K, cells: u32) -> Result<(), Exceeded> {
        let (Some((most, limiter)), Some(cells)) = (&self.cells, NonZeroU32::new(cells)) else {
            return Ok(());
        };
        // More than a minute's worth at once waits for a whole minute's.
        match limiter.check_key_n(key, cells.min(*most)) {
            Ok(Err(until)) => Err(self.exceeded(until.wait_time_from(limiter.clock().now()))),
            _ => Ok(()),
        }
    }

    /// The refusal of a key that has to wait so long.
    pub fn exceeded(&self, retry_after: Duration) -> Exceeded {
        Exceeded {
            scope: self.scope,
            quota: self.quota,
            limit: self.limit,
            // Rates of thousands a minute have waits of milliseconds, which a refused client should not answer with a busy loop.
            retry_after: retry_after.max(Duration::from_millis(100)),
        }
    }
}

/// The states of the keys that were seen last.
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
    fn memory_is_bounded_whatever_keys_come() {
        let limiter = Limiter::new("address", "calls", 10, 10);
        for key in 0..100_000_u32 {
            limiter.charge(&key, 1).unwrap();
        }
        let (_, limiter) = limiter.cells.unwrap();
        assert_eq!(lock(&limiter.into_state_store().0).len(), REMEMBERED.get());
    }
}
