//! Limits responses that clients do not read.
//!
//! The HTTP server polls a body for a frame and holds that frame until the client's flow-control window has room for it. An HTTP/2 client
//! whose window stays closed does not block any write, so no timer of the connection fires: each of its streams could hold a complete
//! response for as long as the connection is open. Therefore responses are passed on in chunks. The remainder is charged to the request
//! memory, and dropped if the client does not read it in time; the chunk that the HTTP server holds is freed with the stream. If a client
//! leaves many responses unread, its connection is closed, because only that frees the chunks of its streams.

use std::{
    collections::HashMap,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::Response,
};
use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parley_admission::request_memory::{MEMORY_PER_BYTE, MemoryCharge, MemoryShare, RequestMemory, RequestSender};
use parley_fault::Protection;
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use super::connection_closer::{ConnectionCloser, UnreadResponse};

/// Maximum size of a chunk in bytes: the maximum size of an HTTP/2 DATA frame, unless the client permits larger frames.
const CHUNK_BYTES: usize = 16 * 1024;

/// Number of bytes of a response for which its client is granted another second. Even at 6 KiB per second, the stall timeout alone suffices
/// to read a page of results; a smaller value would let a client hold a large response for minutes.
const BYTES_PER_SECOND: usize = 64 * 1024;

/// Maximum interval between checks for expired responses.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The responses that clients have not read yet. Cheap to clone; clones share the state.
#[derive(Clone)]
pub struct UnreadResponses(Arc<Registry>);

struct Registry {
    memory: RequestMemory,
    timeout: Duration,
    is_enabled: bool,
    /// The open responses, keyed by the address of their `BodyState`. The address is unique until the entry is removed.
    open: Mutex<HashMap<usize, Weak<dyn Expire>>>,
}

impl fmt::Debug for UnreadResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreadResponses")
            .field("timeout", &self.0.timeout)
            .finish_non_exhaustive()
    }
}

impl UnreadResponses {
    /// Charges responses to `memory`. While [`UnreadResponses::run`] runs, a client has `timeout`, plus a second per 64 KiB, to read each
    /// frame that a response produces.
    pub fn new(memory: RequestMemory, timeout: Duration) -> Self {
        Self(Arc::new(Registry {
            memory,
            timeout,
            is_enabled: parley_fault::is_on(Protection::UnreadResponses),
            open: Mutex::default(),
        }))
    }

    /// Returns whether responses are watched; tests can disable this.
    pub fn is_enabled(&self) -> bool {
        self.0.is_enabled
    }

    /// Watches the body of a response on a connection. Its memory is charged to the share of `holder`.
    pub fn watch<B>(&self, body: B, closer: ConnectionCloser, holder: MemoryShare) -> WatchedBody<B> {
        WatchedBody {
            shared: Arc::new(BodyState(Mutex::new(Stage::Open(OpenBody {
                body: Box::pin(body),
                frame: Bytes::new(),
                is_copied: false,
                deadline: None,
                charge: self.0.memory.charge(holder),
                closer,
            })))),
            unread: self.clone(),
            is_registered: false,
        }
    }

    /// Drops responses that were not read in time, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let interval = (self.0.timeout / 4).min(MAX_CHECK_INTERVAL);
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            let dropped = self.drop_expired(Instant::now());
            if dropped > 0 {
                tracing::info!(dropped, "dropped responses that clients did not read in time");
            }
        }
    }

    /// Drops expired responses and returns their number.
    fn drop_expired(&self, now: Instant) -> usize {
        let open: Vec<_> = self.open().values().filter_map(Weak::upgrade).collect();
        open.into_iter().filter(|response| response.expire(now)).count()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<usize, Weak<dyn Expire>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Middleware that watches the responses of a router. Streams of Server-Sent Events are not watched here, but where they are created.
pub async fn watch(State(unread): State<UnreadResponses>, request: Request, next: Next) -> Response {
    let closer: ConnectionCloser = request.extensions().get().cloned().unwrap_or_default();
    let sender = RequestSender::of(request.headers(), request.extensions());
    let response = next.run(request).await;
    let is_event_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_event_stream || response.status() == StatusCode::SWITCHING_PROTOCOLS || !unread.is_enabled() {
        return response;
    }
    response.map(|body| Body::new(unread.watch(body, closer, unread.0.memory.holder(&sender))))
}

/// A response that can be dropped when it expires.
trait Expire: Send + Sync {
    /// Drops the response if its client should have read it by `now`. Returns whether it was dropped.
    fn expire(&self, now: Instant) -> bool;
}

/// A response body that is passed on in chunks, and dropped if the client does not read it in time.
pub struct WatchedBody<B> {
    shared: Arc<BodyState<B>>,
    unread: UnreadResponses,
    is_registered: bool,
}

struct BodyState<B>(Mutex<Stage<B>>);

enum Stage<B> {
    Open(OpenBody<B>),
    /// The response was dropped, but its reader has not been informed yet.
    Expired {
        _unread: UnreadResponse,
    },
    Ended,
}

struct OpenBody<B> {
    body: Pin<Box<B>>,
    /// The part of the last frame that has not been passed on.
    frame: Bytes,
    /// Whether chunks are copied from the frame. A chunk that is a slice of a large frame would keep the whole frame in memory.
    is_copied: bool,
    /// The time by which the client must have read the last frame. `None` while no frame is waiting to be read.
    deadline: Option<Instant>,
    charge: MemoryCharge,
    closer: ConnectionCloser,
}

impl<B> OpenBody<B> {
    /// Takes the next chunk, which stays charged until the following chunk is polled.
    fn chunk(&mut self) -> Bytes {
        self.charge.hold(self.frame.len().div_ceil(MEMORY_PER_BYTE));
        if !self.is_copied {
            return std::mem::take(&mut self.frame);
        }
        let size = self.frame.len().min(CHUNK_BYTES);
        let chunk = Bytes::copy_from_slice(&self.frame[..size]);
        self.frame.advance(size);
        if self.frame.is_empty() {
            self.frame = Bytes::new();
        }
        chunk
    }
}

impl<B> BodyState<B> {
    fn state(&self) -> MutexGuard<'_, Stage<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Send> Expire for BodyState<B> {
    fn expire(&self, now: Instant) -> bool {
        let mut state = self.state();
        let unread = match &*state {
            Stage::Open(open) if open.deadline.is_some_and(|deadline| deadline < now) => open.closer.count_unread(),
            _ => return false,
        };
        let dropped = std::mem::replace(&mut *state, Stage::Expired { _unread: unread });
        drop(state);
        // Drop outside the lock: destructors of the body can take time.
        drop(dropped);
        true
    }
}

impl<B> HttpBody for WatchedBody<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut state = this.shared.state();
        let open = match &mut *state {
            Stage::Open(open) => open,
            Stage::Expired { .. } => {
                let late = io::Error::new(io::ErrorKind::TimedOut, "the response was not read in time");
                return Poll::Ready(Some(Err(late.into())));
            }
            Stage::Ended => return Poll::Ready(None),
        };
        if !open.frame.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(open.chunk()))));
        }
        // Everything produced so far has been passed on.
        open.charge.hold(0);
        open.deadline = None;
        let frame = match open.body.as_mut().poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(end) => {
                *state = Stage::Ended;
                return Poll::Ready(end.map(|failed| failed.map_err(Into::into)));
            }
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        let earned = Duration::from_secs((data.len() / BYTES_PER_SECOND) as u64);
        open.deadline = Some(Instant::now() + this.unread.0.timeout + earned);
        open.is_copied = data.len() > CHUNK_BYTES;
        open.frame = data;
        let chunk = open.chunk();
        drop(state);
        if !this.is_registered {
            this.is_registered = true;
            let shared: Arc<dyn Expire> = Arc::<BodyState<B>>::clone(&this.shared);
            let weak = Arc::downgrade(&shared);
            this.unread.open().insert(key(&this.shared), weak);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match &*self.shared.state() {
            Stage::Open(open) => open.frame.is_empty() && open.body.is_end_stream(),
            Stage::Expired { .. } => false,
            Stage::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.state();
        let Stage::Open(open) = &*state else {
            return SizeHint::default();
        };
        let (remaining, of_body) = (open.frame.len() as u64, open.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + remaining);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + remaining);
        }
        hint
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        if self.is_registered {
            self.unread.open().remove(&key(&self.shared));
        }
    }
}

fn key<B>(shared: &Arc<BodyState<B>>) -> usize {
    Arc::as_ptr(shared).addr()
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    fn unread() -> (RequestMemory, UnreadResponses) {
        let memory = RequestMemory::new(1 << 20, 0);
        (memory.clone(), UnreadResponses::new(memory, TIMEOUT))
    }

    fn frame<B>(response: &mut WatchedBody<B>) -> Option<Result<Frame<Bytes>, BoxError>>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        response.frame().now_or_never().expect("it is there")
    }

    #[test]
    fn responses_are_forwarded_in_chunks() {
        let (memory, unread) = unread();
        for size in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 100_000] {
            let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut response = unread.watch(
                Full::new(Bytes::from(bytes.clone())),
                ConnectionCloser::default(),
                MemoryShare::Authenticated,
            );
            let mut received = Vec::new();
            assert_eq!(response.size_hint().exact(), Some(size as u64));
            while !response.is_end_stream() {
                let chunk = frame(&mut response).unwrap().unwrap().into_data().unwrap();
                assert!(chunk.len() <= CHUNK_BYTES);
                assert_eq!(
                    memory.used(),
                    (size - received.len()).div_ceil(MEMORY_PER_BYTE),
                    "what is left, and the piece"
                );
                received.extend_from_slice(&chunk);
                assert_eq!(response.size_hint().exact(), Some((size - received.len()) as u64));
            }
            assert!(frame(&mut response).is_none());
            assert_eq!((received, memory.used()), (bytes, 0));
        }
        assert!(unread.open().is_empty());
    }

    #[test]
    fn trailers_are_forwarded() {
        let (_, unread) = unread();
        let frames = [Frame::data(Bytes::from_static(b"data")), Frame::trailers(http::HeaderMap::new())];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, io::Error>)));
        let mut response = unread.watch(body, ConnectionCloser::default(), MemoryShare::Authenticated);
        assert!(frame(&mut response).unwrap().unwrap().is_data());
        assert!(frame(&mut response).unwrap().unwrap().is_trailers());
        assert!(frame(&mut response).is_none());
    }

    #[test]
    fn unread_response_is_dropped() {
        let (memory, unread) = unread();
        let mut response = unread.watch(
            Full::new(Bytes::from(vec![1; 100_000])),
            ConnectionCloser::default(),
            MemoryShare::Authenticated,
        );
        frame(&mut response).unwrap().unwrap();
        assert!(memory.used() > 0);
        assert_eq!(
            unread.drop_expired(Instant::now() + TIMEOUT),
            0,
            "it has a few seconds more for its bytes"
        );
        assert_eq!(unread.drop_expired(Instant::now() + 2 * TIMEOUT), 1);
        assert_eq!(memory.used(), 0);
        assert!(frame(&mut response).unwrap().is_err());
        // The last chunk is watched too.
        let mut small = unread.watch(
            Full::new(Bytes::from_static(b"small")),
            ConnectionCloser::default(),
            MemoryShare::Authenticated,
        );
        frame(&mut small).unwrap().unwrap();
        assert_eq!(unread.drop_expired(Instant::now() + 2 * TIMEOUT), 1);
        drop((response, small));
        assert!(unread.open().is_empty());
    }

    #[test]
    fn idle_body_does_not_expire() {
        let (_, unread) = unread();
        let first = stream::iter([Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"first")))]);
        let body = StreamBody::new(futures_util::StreamExt::chain(first, stream::pending()));
        let mut response = unread.watch(body, ConnectionCloser::default(), MemoryShare::Authenticated);
        frame(&mut response).unwrap().unwrap();
        assert!(response.frame().now_or_never().is_none(), "its client took all, and asks for more");
        assert_eq!(unread.drop_expired(Instant::now() + 2 * TIMEOUT), 0);
    }

    #[test]
    fn many_unread_responses_close_the_connection() {
        let (_, unread) = unread();
        let closer = ConnectionCloser::default();
        let mut responses = Vec::new();
        for number in 1..=super::super::connection_closer::MAX_UNREAD_RESPONSES + 1 {
            let mut response = unread.watch(Full::new(Bytes::from_static(b"small")), closer.clone(), MemoryShare::Authenticated);
            frame(&mut response).unwrap().unwrap();
            assert_eq!(unread.drop_expired(Instant::now() + 2 * TIMEOUT), 1);
            responses.push(response);
            assert_eq!(
                closer.is_closed(),
                number > super::super::connection_closer::MAX_UNREAD_RESPONSES,
                "{number}"
            );
        }
    }
}
