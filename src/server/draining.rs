//! How the connections of a listener end when it drains.
//!
//! hyper closes a connection that rests, and waits for every other one: for half a head, for a body that stands still, and over HTTP/2 for a
//! peer that does not answer the ping after GOAWAY. So each connection counts its requests, and once the drain has begun one without a complete
//! request in flight fails its reads after [`SETTLE`]. What is complete is answered, until [`Draining::cut`]: also what hyper has taken of a response
//! and the client has not, because a client that reads slowly is not gone.

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

/// How long a connection without a complete request is kept after the drain has begun: the time for what is on its way, such as the answer to a
/// ping, the rest of a request, or the last bytes of a response.
const SETTLE: Duration = Duration::from_secs(1);

/// How often a connection that is still there is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// The connections of a listener, and how they end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Draining {
    begun: CancellationToken,
    cut: CancellationToken,
    open: Arc<AtomicUsize>,
}

impl Draining {
    /// For a listener that drains from `begun` on.
    pub fn from(begun: CancellationToken) -> Self {
        Self {
            begun,
            cut: CancellationToken::new(),
            open: Arc::default(),
        }
    }

    /// Ends what is still open, and returns how many connections that are.
    pub fn cut(&self) -> usize {
        let open = self.open.load(Ordering::Relaxed);
        self.cut.cancel();
        open
    }

    /// Waits until connections are cut.
    pub fn is_cut(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cut.clone().cancelled_owned()
    }

    /// Watches over a connection that was just accepted.
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

/// What goes on over a connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// Requests whose head came and whose response is not complete.
    pub(super) requests: AtomicUsize,
    /// Those of them whose body is still to come, or its end.
    pub(super) arriving: AtomicUsize,
    read: AtomicU64,
    written: AtomicU64,
    /// Whether the system takes nothing more of what is to be written.
    is_blocked: AtomicBool,
}

impl Activity {
    /// Whether a response is owed: to a complete request, or bytes of one that are on their way.
    fn owes(&self) -> bool {
        let (requests, arriving) = (self.requests.load(Ordering::Relaxed), self.arriving.load(Ordering::Relaxed));
        let is_blocked = self.is_blocked.load(Ordering::Relaxed) && parley_fault::is_on(Protection::DrainedResponses);
        requests > arriving || is_blocked
    }
}

/// Ends when the connection has to: it is cut, or it drains and has nothing to wait for.
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
        // A head that comes byte by byte is not waited for.
        let moves = written_now > written || (arriving > 0 && read_now > read);
        if activity.owes() || moves {
            since = Instant::now();
        }
        (read, written) = (read_now, written_now);
    }
}

/// A connection's part in the drain.
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
    /// Ready once the connection has to end. Must not be polled again then.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.as_mut().poll(cx)
    }

    /// Notes bytes that came.
    pub fn read(&self, bytes: usize) {
        self.activity.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes bytes that went out.
    pub fn written(&self, bytes: usize) {
        self.activity.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes whether the last write or flush has to wait.
    pub fn blocked(&self, is_blocked: bool) {
        self.activity.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// Where requests of the connection are counted.
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

    /// A connection of a listener that has begun to drain, and whether it has to end within a minute.
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
