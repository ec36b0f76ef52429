//! Lingering close of connections.
//!
//! If a request is rejected before it was received completely (413, 400), unread bytes remain, and closing the connection then makes the
//! kernel reset it: the client can lose the response that is in transit. Therefore incoming bytes are read and discarded for a while after
//! the response. The response also announces that the connection closes, because a client that reused it would lose its next request.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderValue, Version, header::CONNECTION},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{body_timeout::BodyTimeout, incoming::Connection};

/// How long to wait for the client to close the connection.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of bytes that are read and discarded after the response.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;

/// A body that records when it was read completely. It fails if no progress is made for too long, or if it takes too long in total.
struct TimedBody {
    body: Body,
    read: Arc<AtomicBool>,
    idle_timeout: Duration,
    time: BodyTimeout,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.time.poll_expired(this.idle_timeout, cx));
            let late = io::Error::new(io::ErrorKind::TimedOut, "the body did not arrive in time");
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        };
        let bytes = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref())
            .map_or(0, Bytes::len);
        this.time.received(bytes);
        if frame.is_none() || this.body.is_end_stream() {
            this.read.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Adds `Connection: close` to a response whose request was not read completely. Aborts a request body that makes no progress for
/// `idle_timeout`, or takes longer than `body_timeout` plus the time that is granted for its bytes.
pub async fn close_if_unread(State((idle_timeout, body_timeout)): State<(Duration, Duration)>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // HTTP/2 resets the stream instead of closing the connection.
    let is_http1 = request.version() < Version::HTTP_2;
    let read = Arc::new(AtomicBool::new(false));
    let timed = |body| {
        Body::new(TimedBody {
            body,
            read: Arc::clone(&read),
            idle_timeout,
            time: BodyTimeout::new(body_timeout),
        })
    };
    let mut response = next.run(request.map(timed)).await;
    if is_http1 && !read.load(Ordering::Acquire) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A connection with a lingering close.
#[derive(Debug)]
pub struct LingeringClose {
    stream: Connection,
    /// Timer of the lingering close, which runs once the write side has been shut down.
    deadline: Option<Pin<Box<Sleep>>>,
    remaining: usize,
}

impl LingeringClose {
    pub fn new(stream: Connection) -> Self {
        Self {
            stream,
            deadline: None,
            remaining: MAX_DISCARDED_BYTES,
        }
    }
}

impl AsyncRead for LingeringClose {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for LingeringClose {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deadline.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.deadline = Some(Box::pin(sleep(LINGER_TIMEOUT)));
        }
        let mut scratch = [0; 16 * 1024];
        while self.remaining > 0 {
            if let Some(deadline) = &mut self.deadline
                && deadline.as_mut().poll(cx).is_ready()
            {
                break;
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.remaining = self.remaining.saturating_sub(buffer.filled().len()),
                // The client has closed the connection or reset it.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
