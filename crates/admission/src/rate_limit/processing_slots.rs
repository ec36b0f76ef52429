//! Prevents callers without a token from using up the processors, by limiting how fast request bodies from one address are read and how
//! many calls by all such callers are processed at once. Nothing is rejected here: excess calls wait, and their connections are not read
//! while they wait. Callers with a token never wait for callers without one.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex},
    thread::available_parallelism,
    time::Duration,
};

use lru::LruCache;
use opentelemetry::{KeyValue, metrics::Counter};
use parley_fault::Protection;
use parley_telemetry::names::{self, meter};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{address_rates::PROXY_RATE_FACTOR, keyed_limiter::MAX_KEYS, mutex::lock};
use crate::client_address::ClientAddress;

/// The rate at which bodies are read from one address, in bytes per second: 64 Mbit/s, which is four times the average rate at which all
/// sessions from the address may send.
const BYTES_PER_SECOND: u32 = 8 * 1024 * 1024;

/// The burst that an address may send before it is slowed down, expressed as the time that it takes at the address's rate. It suffices for
/// four bodies of maximum size.
const BURST: Duration = Duration::from_secs(2);

/// The number of calls without a token that are processed at once, per processor: enough to keep the processors busy while some calls wait
/// for the database.
const CALLS_PER_PROCESSOR: usize = 4;

/// The number of calls without a token from one address that are processed at once, per processor. Further calls from the address wait in a
/// queue of their own instead of the shared one, so no address can make the shared queue long.
const CALLS_PER_ADDRESS: usize = CALLS_PER_PROCESSOR / 2;

static DELAYED: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter(names::CALLS_DELAYED).with_unit("{call}").build());

/// Counts a call that was delayed, by reason, in the metric for delayed calls.
pub(super) fn count(reason: &'static str) {
    DELAYED.add(1, &[KeyValue::new(names::REASON, reason)]);
}

/// Limits the share of the processors that callers without a token use.
#[derive(Debug)]
pub(super) struct ProcessingSlots {
    processors: usize,
    calls: Arc<Semaphore>,
    /// The semaphore that limits each peer's calls. A request from an untrusted peer counts against that peer even if it has a forwarding
    /// header, so the header does not give the peer more slots.
    per_peer: Mutex<LruCache<IpAddr, Arc<Semaphore>>>,
    /// For each address, the time at which the bytes received so far would have finished arriving if the client had sent them at the rate
    /// that the address is allowed.
    covered_until: Mutex<LruCache<ClientAddress, Instant>>,
}

/// Permission to process a call. Dropping it frees the slot.
#[derive(Debug)]
pub struct ProcessingSlot {
    _per_peer: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl ProcessingSlots {
    pub fn new() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            processors,
            calls: Arc::new(Semaphore::new(processors * CALLS_PER_PROCESSOR)),
            per_peer: Mutex::new(LruCache::new(MAX_KEYS)),
            covered_until: Mutex::new(LruCache::new(MAX_KEYS)),
        }
    }

    pub async fn processing_slot(&self, address: Option<ClientAddress>) -> Option<ProcessingSlot> {
        if !parley_fault::is_on(Protection::AnonymousSlots) {
            return None;
        }
        let mut is_counted = false;
        let per_peer = match address {
            Some(address) => Some(taken(self.per_peer(address.peer()), &mut is_counted).await?),
            None => None,
        };
        let of_all = taken(Arc::clone(&self.calls), &mut is_counted).await?;
        Some(ProcessingSlot {
            _per_peer: per_peer,
            _of_all: of_all,
        })
    }

    fn per_peer(&self, peer: IpAddr) -> Arc<Semaphore> {
        let mut per_peer = lock(&self.per_peer);
        Arc::clone(per_peer.get_or_insert(peer, || Arc::new(Semaphore::new(self.processors * CALLS_PER_ADDRESS))))
    }

    pub fn received(&self, address: ClientAddress, bytes: usize, now: Instant) -> Option<Instant> {
        if !parley_fault::is_on(Protection::AnonymousSlots) {
            return None;
        }
        let clients = match address {
            ClientAddress::Client(_) => 1,
            ClientAddress::UndeclaredProxy(_) => PROXY_RATE_FACTOR,
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let cost = Duration::from_secs_f64(f64::from(bytes) / f64::from(BYTES_PER_SECOND) / f64::from(clients));
        let mut covered_until = lock(&self.covered_until);
        let until = covered_until.get(&address).copied().map_or(now, |until| until.max(now)) + cost;
        covered_until.put(address, until);
        // Return `None`, which means no delay, while the address is ahead of its rate by no more than the burst.
        until.checked_sub(BURST).filter(|resumes| *resumes > now)
    }
}

/// Acquires a permit, and counts the call once if it has to wait. Never returns `None`, because the semaphores are not closed.
async fn taken(places: Arc<Semaphore>, is_counted: &mut bool) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
        return Some(place);
    }
    if !std::mem::replace(is_counted, true) {
        count("turn");
    }
    places.acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: usize = 1024 * 1024;

    fn address(last: u8) -> ClientAddress {
        ClientAddress::Client([192, 0, 2, last].into())
    }

    #[test]
    fn address_beyond_its_rate_is_slowed_down() {
        let (processing_slots, now) = (ProcessingSlots::new(), Instant::now());
        let received = |last, bytes, at| processing_slots.received(address(last), bytes, at).map(|resumes| resumes - at);
        assert_eq!(received(1, 16 * MEGABYTE, now), None);
        assert_eq!(received(1, 8 * MEGABYTE, now), Some(Duration::from_secs(1)));
        assert_eq!(received(2, 16 * MEGABYTE, now), None, "another address");
        let later = now + Duration::from_secs(3);
        assert_eq!(received(1, 16 * MEGABYTE, later), None, "everything is paid for");
        assert_eq!(received(1, 4 * MEGABYTE, later), Some(Duration::from_millis(500)));
        let proxy = ClientAddress::UndeclaredProxy([192, 0, 2, 3].into());
        assert_eq!(processing_slots.received(proxy, 160 * MEGABYTE, now), None);
        assert_eq!(
            processing_slots.received(proxy, 80 * MEGABYTE, now),
            Some(now + Duration::from_secs(1))
        );
    }

    #[tokio::test]
    async fn calls_wait_for_a_slot_and_release_it() {
        let processing_slots = ProcessingSlots::new();
        let mut held = Vec::new();
        for _ in 0..processing_slots.calls.available_permits() {
            held.push(processing_slots.processing_slot(None).await.unwrap());
        }
        let waiting = processing_slots.processing_slot(Some(address(1)));
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        held.pop();
        assert!(waiting.await.is_some());
    }

    #[tokio::test]
    async fn calls_of_one_address_leave_slots_to_others() {
        let processing_slots = ProcessingSlots::new();
        let mut held = Vec::new();
        for _ in 0..processing_slots.processors * CALLS_PER_ADDRESS {
            held.push(processing_slots.processing_slot(Some(address(1))).await.unwrap());
        }
        let mut waiting: Vec<_> = (0..100)
            .map(|_| Box::pin(processing_slots.processing_slot(Some(address(1)))))
            .collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        let as_a_proxy = processing_slots.processing_slot(Some(ClientAddress::UndeclaredProxy(address(1).peer())));
        tokio::pin!(as_a_proxy);
        assert!(futures_util::poll!(as_a_proxy.as_mut()).is_pending(), "the same peer");
        assert!(processing_slots.processing_slot(Some(address(2))).await.is_some());
        held.pop();
        assert!(waiting.remove(0).await.is_some());
    }
}
