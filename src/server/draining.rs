//! Ends the connections of a listener when it drains.
//!
//! hyper closes idle connections but waits for all others: for the rest of a request head, for a body that makes no progress, and over
//! HTTP/2 for a peer that does not answer the ping after GOAWAY. Therefore each connection counts its requests. Once draining has begun, a
//! connection without a complete request in flight fails its reads after [`IDLE_PERIOD`]. Complete requests are answered until
//! [`ListenerDrain::abort`] is called. This includes response bytes that hyper has accepted but the client has not read, because a client
//! that reads slowly is still connected.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use parley_fault::Protection;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long a connection without a complete request is kept after draining has begun. This leaves time for data in transit, such as the
/// answer to a ping, the rest of a request, or the last bytes of a response.
const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// How often a connection is checked while its listener drains.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The draining state that the connections of a listener share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ListenerDrain {
    started: CancellationToken,
    aborted: CancellationToken,
    open: Arc<AtomicUsize>,
}

impl ListenerDrain {
    /// Creates the state of a listener that drains once `started` is cancelled.
    pub fn new(started: CancellationToken) -> Self {
        Self {
            started,
            aborted: CancellationToken::new(),
            open: Arc::default(),
        }
    }

    /// Aborts all remaining connections and returns their number.
    pub fn abort(&self) -> usize {
        let open = self.open.load(Ordering::Relaxed);
        self.aborted.cancel();
        open
    }

    /// Waits until [`ListenerDrain::abort`] is called.
    pub fn aborted(&self) -> impl Future<Output = ()> + Send + 'static {
        self.aborted.clone().cancelled_owned()
    }

    /// Registers a connection that was just accepted.
    pub fn connection(&self) -> ConnectionDrain {
        self.open.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::default());
        ConnectionDrain {
            drained: Box::pin(wait_until_drained(
                self.started.child_token(),
                self.aborted.clone(),
                Arc::clone(&activity),
            )),
            activity,
            open: Arc::clone(&self.open),
        }
    }
}

/// Counts the activity on a connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// Number of requests whose head was received and whose response is not complete.
    pub(super) requests: AtomicUsize,
    /// Number of requests in flight whose body was not received completely.
    pub(super) arriving: AtomicUsize,
    read: AtomicU64,
    written: AtomicU64,
    /// Whether the socket's send buffer is full.
    is_blocked: AtomicBool,
}

impl Activity {
    /// Returns whether output is pending: the response to a complete request, or the rest of a response that a slow reader blocks.
    fn has_pending_output(&self) -> bool {
        let (requests, arriving) = (self.requests.load(Ordering::Relaxed), self.arriving.load(Ordering::Relaxed));
        let is_blocked = self.is_blocked.load(Ordering::Relaxed) && parley_fault::is_on(Protection::DrainedResponses);
        requests > arriving || is_blocked
    }
}

/// Completes when the connection must end: when it is aborted, or when it is draining and has nothing left to wait for.
async fn wait_until_drained(started: CancellationToken, aborted: CancellationToken, activity: Arc<Activity>) {
    started.cancelled().await;
    let mut since = Instant::now();
    let (mut read, mut written) = (activity.read.load(Ordering::Relaxed), activity.written.load(Ordering::Relaxed));
    while since.elapsed() < IDLE_PERIOD || !parley_fault::is_on(Protection::DrainedConnections) {
        if aborted.run_until_cancelled(sleep(POLL_INTERVAL)).await.is_none() {
            return;
        }
        let (read_now, written_now) = (activity.read.load(Ordering::Relaxed), activity.written.load(Ordering::Relaxed));
        let arriving = activity.arriving.load(Ordering::Relaxed);
        // A request head that trickles in byte by byte does not count as progress.
        let progresses = written_now > written || (arriving > 0 && read_now > read);
        if activity.has_pending_output() || progresses {
            since = Instant::now();
        }
        (read, written) = (read_now, written_now);
    }
}

/// The draining state of one connection.
pub struct ConnectionDrain {
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
    activity: Arc<Activity>,
    open: Arc<AtomicUsize>,
}

impl std::fmt::Debug for ConnectionDrain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionDrain")
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}

impl ConnectionDrain {
    /// Ready once the connection must end. Must not be polled again after that.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drained.as_mut().poll(cx)
    }

    /// Records bytes that were read.
    pub fn add_read(&self, bytes: usize) {
        self.activity.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records bytes that were written.
    pub fn add_written(&self, bytes: usize) {
        self.activity.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records whether the last write or flush is blocked.
    pub fn set_blocked(&self, is_blocked: bool) {
        self.activity.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// Returns the activity counters, which the connection's requests update.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }
}

impl Drop for ConnectionDrain {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::in_flight::InFlight;

    /// Returns whether a connection of a draining listener ends within a minute.
    async fn ends(with: impl FnOnce(&Activity)) -> bool {
        let started = CancellationToken::new();
        let draining = ListenerDrain::new(started.clone());
        let mut drain = draining.connection();
        with(&drain.activity);
        started.cancel();
        let ended = tokio::time::timeout(Duration::from_mins(1), std::future::poll_fn(|cx| drain.poll_drained(cx))).await;
        assert_eq!(draining.abort(), 1);
        drop(drain);
        assert_eq!(draining.abort(), 0);
        ended.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_complete_requests_keep_a_connection_open() {
        assert!(ends(|_| {}).await);
        assert!(
            ends(|activity| {
                activity.requests.store(1, Ordering::Relaxed);
                activity.arriving.store(1, Ordering::Relaxed);
            })
            .await
        );
        assert!(!ends(|activity| activity.requests.store(1, Ordering::Relaxed)).await);
        assert!(!ends(|activity| activity.is_blocked.store(true, Ordering::Relaxed)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn abort_closes_a_connection_with_a_complete_request() {
        let started = CancellationToken::new();
        let draining = ListenerDrain::new(started.clone());
        let mut drain = draining.connection();
        let in_flight = InFlight::begin(drain.activity(), true);
        started.cancel();
        draining.abort();
        std::future::poll_fn(|cx| drain.poll_drained(cx)).await;
        drop(in_flight);
        assert_eq!(drain.activity.requests.load(Ordering::Relaxed), 0);
    }
}
