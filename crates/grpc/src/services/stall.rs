//! Releases the resources of stalled streams, whose clients have stopped reading.
//!
//! A connection polls a stream only when its flow-control window has room. Between polls, a stream cannot do anything, not even end. So a
//! stream whose client never reads would hold its stream permit, its position and its session forever.
//!
//! tonic's encoder polls a stream until it is pending, and only then passes on the buffered items. So even a stream whose last poll
//! returned `Pending` may have a client that does not read. To find out, the connection is woken once after each item: if it does not poll
//! again, the client is not reading.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures_util::Stream;
use parley_eventlog::broadcaster::StreamKind;
use parley_fault::Protection;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::stream_position::StreamPosition;
use crate::{
    meter,
    status::{ended_at, stalled},
};

/// Maximum interval between two checks of all streams.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The stream that produces the items.
type Source<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The state of a stream that has not ended.
struct Open<T> {
    source: Source<T>,
    /// The time since which the connection has been expected to poll. `None` while the stream is waiting for its source.
    expected_since: Option<Instant>,
    /// Whether an item has been returned and the connection has not been probed since.
    is_unprobed: bool,
    /// The waker of the connection, if it may have to be woken to check whether it polls again.
    reader: Option<Waker>,
}

enum State<T> {
    Open(Open<T>),
    /// The source has been dropped, but the client has not received the status yet.
    Stalled,
    Ended,
}

struct WatchedState<T> {
    kind: StreamKind,
    /// The position of the stream; contains `None` for a stream without a position.
    position: StreamPosition,
    state: Mutex<State<T>>,
}

impl<T> WatchedState<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Type-erased access to a watched stream.
trait Stallable: Send + Sync {
    /// Wakes a connection that might not have sent the last item yet. From then on, the connection is expected to poll.
    fn probe(&self);

    /// Drops the source if the connection has not polled for `timeout`.
    fn close_if_stalled(&self, timeout: Duration);
}

impl<T> Stallable for WatchedState<T> {
    fn probe(&self) {
        let mut state = self.state();
        let State::Open(open) = &mut *state else { return };
        // If `expected_since` is set, the connection is already expected to poll.
        if !open.is_unprobed || open.expected_since.is_some() {
            return;
        }
        open.is_unprobed = false;
        open.expected_since = Some(Instant::now());
        let reader = open.reader.take();
        drop(state);
        // Wake the connection after releasing the lock, because the wake may poll the stream immediately.
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn close_if_stalled(&self, timeout: Duration) {
        let mut state = self.state();
        let is_stalled =
            matches!(&*state, State::Open(Open { expected_since: Some(expected_since), .. }) if expected_since.elapsed() > timeout);
        if !is_stalled || !parley_fault::is_on(Protection::StallTimeout) {
            return;
        }
        let source = std::mem::replace(&mut *state, State::Stalled);
        drop(state);
        // Drop the source after releasing the lock, because dropping it may take long.
        drop(source);
        meter::ended(self.kind, &stalled());
        tracing::info!(kind = self.kind.name(), "closed a stalled stream: the client stopped reading");
    }
}

/// A stream that is checked for stalls.
pub struct WatchedStream<T>(Arc<WatchedState<T>>);

impl<T> Stream for WatchedStream<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state();
        match &mut *state {
            State::Open(open) => {
                let next = open.source.as_mut().poll_next(cx);
                match &next {
                    Poll::Pending => {
                        open.expected_since = None;
                        // After the connection has been woken for a probe, only the source may wake it.
                        open.reader = open.is_unprobed.then(|| cx.waker().clone());
                    }
                    Poll::Ready(Some(_)) => {
                        open.expected_since = Some(Instant::now());
                        open.is_unprobed = true;
                    }
                    Poll::Ready(None) => *state = State::Ended,
                }
                next
            }
            State::Stalled => {
                *state = State::Ended;
                Poll::Ready(Some(Err(ended_at(stalled(), self.0.position.get()))))
            }
            State::Ended => Poll::Ready(None),
        }
    }
}

impl<T> std::fmt::Debug for WatchedStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WatchedStream").field(&self.0.kind).finish()
    }
}

/// Tracks all watched streams and closes those whose clients have stopped reading.
pub struct StallMonitor {
    timeout: Duration,
    open: Mutex<Vec<Weak<dyn Stallable>>>,
}

impl std::fmt::Debug for StallMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StallMonitor")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl StallMonitor {
    /// Creates a monitor. While [`StallMonitor::run`] runs, it drops streams whose clients have read nothing for `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            open: Mutex::default(),
        }
    }

    /// Checks the streams until `stop` is cancelled. A stalled stream is dropped late by at most half the timeout.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let every = (self.timeout / 4).min(MAX_CHECK_INTERVAL);
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            self.check_all();
        }
    }

    /// Watches a stream. `kind` is its name in metrics, and `position` supplies the cursor for the status that ends the stream.
    pub fn watch<T: Send + 'static>(
        &self,
        kind: StreamKind,
        position: StreamPosition,
        source: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> WatchedStream<T> {
        let state = Arc::new(WatchedState {
            kind,
            position,
            // If the flow-control window never opens, the connection does not even poll the stream for its first item.
            state: Mutex::new(State::Open(Open {
                source: Box::pin(source),
                expected_since: Some(Instant::now()),
                is_unprobed: false,
                reader: None,
            })),
        });
        let weak: Weak<WatchedState<T>> = Arc::downgrade(&state);
        self.open().push(weak);
        WatchedStream(state)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Weak<dyn Stallable>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_all(&self) {
        let mut streams = Vec::new();
        self.open().retain(|stream| {
            let stream = stream.upgrade();
            let is_open = stream.is_some();
            streams.extend(stream);
            is_open
        });
        for stream in streams {
            stream.close_if_stalled(self.timeout);
            stream.probe();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn pending_source_is_not_a_stall() {
        let stalls = StallMonitor::new(Duration::ZERO);
        let mut waiting = stalls.watch(
            StreamKind::Subscribe,
            StreamPosition::default(),
            stream::pending::<Result<u8, Status>>(),
        );
        assert!(waiting.next().now_or_never().is_none());
        std::thread::sleep(Duration::from_millis(2));
        stalls.check_all();
        assert!(waiting.next().now_or_never().is_none(), "its reader asked, and nothing was there");
    }

    #[tokio::test]
    async fn unread_item_stalls_the_stream() {
        let stalls = StallMonitor::new(Duration::from_millis(20));
        let one = || stream::iter([Ok(1)]).chain(stream::pending::<Result<u8, Status>>());
        let (mut kept, mut taken) = (
            stalls.watch(StreamKind::Subscribe, StreamPosition::default(), one()),
            stalls.watch(StreamKind::Subscribe, StreamPosition::default(), one()),
        );
        for reader in [&mut kept, &mut taken] {
            assert_eq!(reader.next().await.map(Result::ok), Some(Some(1)));
            // As tonic's encoder does before it passes on the item.
            assert!(reader.next().now_or_never().is_none());
        }
        stalls.check_all();
        assert!(taken.next().now_or_never().is_none());
        std::thread::sleep(Duration::from_millis(25));
        stalls.check_all();
        let end = kept.next().await.map(|item| item.map_err(|status| status.code()));
        assert_eq!(end, Some(Err(Code::DeadlineExceeded)));
        assert!(taken.next().now_or_never().is_none(), "it asked, and nothing was there");
    }

    #[test]
    fn probes_once_per_item() {
        let stalls = StallMonitor::new(Duration::from_mins(1));
        let one = stream::iter([Ok(1)]).chain(stream::pending::<Result<u8, Status>>());
        let mut watched = stalls.watch(StreamKind::Subscribe, StreamPosition::default(), one);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(watched.poll_next_unpin(&mut cx).is_ready());
        for _ in 0..3 {
            assert!(watched.poll_next_unpin(&mut cx).is_pending());
            stalls.check_all();
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    /// Counts wake-ups.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn stalls_before_and_after_items() {
        let stalls = StallMonitor::new(Duration::from_millis(20));
        let mut unread = stalls.watch(StreamKind::Download, StreamPosition::default(), stream::iter([Ok(1)]));
        std::thread::sleep(Duration::from_millis(25));
        stalls.check_all();
        let end = unread.next().await.map(|item| item.map_err(|status| status.code()));
        assert_eq!(end, Some(Err(Code::DeadlineExceeded)), "nobody asked for its first item");
        let (place, source) = (Arc::new(()), stream::iter([Ok(1), Ok(2)]));
        let kept = Arc::clone(&place);
        let mut watched = stalls.watch(
            StreamKind::Subscribe,
            StreamPosition::default(),
            source.map(move |item| {
                let _ = &kept;
                item
            }),
        );
        assert_eq!(watched.next().await.map(Result::ok), Some(Some(1)));
        std::thread::sleep(Duration::from_millis(25));
        stalls.check_all();
        assert_eq!(Arc::strong_count(&place), 1, "what it held is given back before anybody asks");
        let end = watched.next().await.map(|item| item.map_err(|status| status.code()));
        assert_eq!(end, Some(Err(Code::DeadlineExceeded)));
        assert!(watched.next().await.is_none());
    }
}
