//! How the connections of a listener end when it drains.
//!
//! hyper closes idle connections but waits for all others: for half a request head, for a body that makes no progress, and over HTTP/2 for
//! a peer that does not answer the ping after GOAWAY. So each connection counts its requests. Once draining has begun, a connection without
//! a complete request in flight fails its reads after [`SETTLE`]. Complete requests are answered until [`Draining::cut`]. This includes
//! response bytes that hyper has accepted but the client has not read, because a client that reads slowly is still there.

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

/// How long a connection without a complete request is kept after draining has begun: time for data in transit, such as the answer to a
/// ping, the rest of a request, or the last bytes of a response.
const SETTLE: Duration = Duration::from_secs(1);

/// How often a remaining connection is checked during that time.
const LOOK: Duration = Duration::from_millis(100);

/// The connections of a listener, and how they end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Draining {
    begun: CancellationToken,
    cut: CancellationToken,
    open: Arc<AtomicUsize>,
}

impl Draining {
    /// Creates the state of a listener that drains once `begun` is cancelled.
    pub fn from(begun: CancellationToken) -> Self {
        Self {
            begun,
            cut: CancellationToken::new(),
            open: Arc::default(),
        }
    }

    /// Cuts all remaining connections and returns their number.
    pub fn cut(&self) -> usize {
        let open = self.open.load(Ordering::Relaxed);
        self.cut.cancel();
        open
    }

    /// Waits until connections are cut.
    pub fn is_cut(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cut.clone().cancelled_owned()
    }

    /// Registers a connection that was just accepted.
    pub fn connection(&self) -> Closing {
        self.open.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::default());
        Closing {
            end: Box::pin(end(self.begun.child_token(), self.cut.clone(), Arc::clone(&activity))),
            activity,
            open: Arc::clone(&self.open),
        }
    }
}

/// Activity on a connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// Number of requests whose head was received and whose response is not complete.
    pub(super) requests: AtomicUsize,
    /// Number of those whose body was not received completely.
    pub(super) arriving: AtomicUsize,
    read: AtomicU64,
    written: AtomicU64,
    /// Whether the socket's send buffer is full.
    is_blocked: AtomicBool,
}

impl Activity {
    /// Returns whether a response is owed: to a complete request, or the rest of one that is blocked by a slow reader.
    fn owes(&self) -> bool {
        let (requests, arriving) = (self.requests.load(Ordering::Relaxed), self.arriving.load(Ordering::Relaxed));
        let is_blocked = self.is_blocked.load(Ordering::Relaxed) && parley_fault::is_on(Protection::DrainedResponses);
        requests > arriving || is_blocked
    }
}

/// Completes when the connection must end: when it is cut, or when it is draining and has nothing left to wait for.
async fn end(begun: CancellationToken, cut: CancellationToken, activity: Arc<Activity>) {
    begun.cancelled().await;
    let mut since = Instant::now();
    let (mut read, mut written) = (activity.read.load(Ordering::Relaxed), activity.written.load(Ordering::Relaxed));
    while since.elapsed() < SETTLE || !parley_fault::is_on(Protection::DrainedConnections) {
        if cut.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return;
        }
        let (read_now, written_now) = (activity.read.load(Ordering::Relaxed), activity.written.load(Ordering::Relaxed));
        let arriving = activity.arriving.load(Ordering::Relaxed);
        // A request head that trickles in byte by byte does not count as progress.
        let moves = written_now > written || (arriving > 0 && read_now > read);
        if activity.owes() || moves {
            since = Instant::now();
        }
        (read, written) = (read_now, written_now);
    }
}

/// The draining state of one connection.
pub struct Closing {
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    activity: Arc<Activity>,
    open: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closing").field("activity", &self.activity).finish_non_exhaustive()
    }
}

impl Closing {
    /// Ready once the connection must end. Must not be polled again after that.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.as_mut().poll(cx)
    }

    /// Records bytes that were read.
    pub fn read(&self, bytes: usize) {
        self.activity.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records bytes that were written.
    pub fn written(&self, bytes: usize) {
        self.activity.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records whether the last write or flush is blocked.
    pub fn blocked(&self, is_blocked: bool) {
        self.activity.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// The activity counters, for the connection's requests.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }
}

impl Drop for Closing {
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
        let begun = CancellationToken::new();
        let draining = Draining::from(begun.clone());
        let mut closing = draining.connection();
        with(&closing.activity);
        begun.cancel();
        let ended = tokio::time::timeout(Duration::from_mins(1), std::future::poll_fn(|cx| closing.poll_end(cx))).await;
        assert_eq!(draining.cut(), 1);
        drop(closing);
        assert_eq!(draining.cut(), 0);
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
    async fn a_cut_ends_a_connection_with_a_complete_request() {
        let begun = CancellationToken::new();
        let draining = Draining::from(begun.clone());
        let mut closing = draining.connection();
        let in_flight = InFlight::begin(closing.activity(), true);
        begun.cancel();
        draining.cut();
        std::future::poll_fn(|cx| closing.poll_end(cx)).await;
        drop(in_flight);
        assert_eq!(closing.activity.requests.load(Ordering::Relaxed), 0);
    }
}
