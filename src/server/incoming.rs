//! Accepts connections: counts them and performs TLS handshakes, each in its own task. A connection whose client sends nothing at first, or
//! stops reading, is closed; otherwise it would occupy its slot forever.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use super::{
    connection_closer::ConnectionCloser,
    draining::{Activity, ConnectionDrain, ListenerDrain},
    per_address::{PerAddress, Permit},
    tls::Tls,
};

/// Timeout for the TLS handshake and, separately, for the first bytes, which determine whether the connection uses HTTP/1 or HTTP/2.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Capacity of the queue of accepted connections.
const QUEUED_CONNECTIONS: usize = 64;

/// Pause after the system failed to accept a connection, as it does when no file descriptors are free.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A connection, together with the permits under which it is counted.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Checks the first bytes of the connection. `None` once the HTTP version is known.
    preface: Option<PrefaceCheck>,
    /// Timer of the write timeout, which runs while the connection cannot be written to.
    stalled: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    closer: ConnectionCloser,
    drain: ConnectionDrain,
    /// Whether the connection must close because its listener is draining. If so, every read or write that would block fails.
    is_drained: bool,
    _permits: SlotPermits,
}

/// Connection limits: per listener, for all public listeners together, and per client address.
#[derive(Clone, Debug)]
pub struct ConnectionSlots {
    own: Arc<Semaphore>,
    shared: Arc<Semaphore>,
    per_address: Arc<PerAddress>,
}

/// The permits of a connection: from its listener, from all public listeners together, and for its client address.
type SlotPermits = (OwnedSemaphorePermit, OwnedSemaphorePermit, Permit);

impl ConnectionSlots {
    /// Permits `own` connections to one listener, within the limit of `shared` for all listeners together.
    pub fn new(own: usize, shared: Arc<Semaphore>, per_address: Arc<PerAddress>) -> Self {
        Self {
            own: Arc::new(Semaphore::new(own)),
            shared,
            per_address,
        }
    }

    /// Waits for a permit from the listener and one from all listeners together. `None` never occurs, because the semaphores are never
    /// closed.
    async fn acquire(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let shared = Arc::clone(&self.shared).acquire_owned().await.ok()?;
        Some((own, shared))
    }
}

/// The preface of every HTTP/2 connection. A server that supports both versions waits, without a timeout of its own, for enough bytes to
/// tell them apart.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The beginning of a connection, until its HTTP version is known.
#[derive(Debug)]
struct PrefaceCheck {
    /// Number of bytes of [`PREFACE`] received.
    received: usize,
    deadline: Pin<Box<Sleep>>,
}

impl PrefaceCheck {
    /// Records received bytes. Returns whether the HTTP version is now known.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.received..];
        self.received += bytes.len().min(rest.len());
        self.received == PREFACE.len() || !rest.starts_with(bytes)
    }
}

impl Connection {
    fn new(stream: Stream, write_timeout: Duration, drain: ConnectionDrain, permits: SlotPermits) -> Self {
        let deadline = Box::pin(sleep(HANDSHAKE_TIMEOUT));
        Self {
            stream,
            preface: Some(PrefaceCheck { received: 0, deadline }),
            stalled: None,
            write_timeout,
            closer: ConnectionCloser::default(),
            drain,
            is_drained: false,
            _permits: permits,
        }
    }

    /// Returns a handle with which requests of this connection can close it.
    pub fn closer(&self) -> ConnectionCloser {
        self.closer.clone()
    }

    /// Returns the counter of requests in flight on this connection.
    pub fn activity(&self) -> Arc<Activity> {
        self.drain.activity()
    }

    /// Returns whether the connection has to close because its listener is draining.
    fn is_drained(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_drained = self.is_drained || self.drain.poll_drained(cx).is_ready();
        self.is_drained
    }

    fn record_written(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.drain.add_written(*bytes);
        }
    }

    /// Returns the result of a write, or an error once the connection has been unwritable for too long.
    fn with_timeout<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.drain.set_blocked(written.is_pending());
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        if self.is_drained(cx) {
            return Poll::Ready(Err(draining_error()));
        }
        let write_timeout = self.write_timeout;
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(write_timeout))).as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the peer does not read")))
    }
}

fn draining_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the listener is draining")
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The accepted connections of a listener.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<(Connection, SocketAddr)>,
}

impl Incoming {
    /// Accepts connections from a listener as long as `slots` has permits; further connections wait in the kernel's queue. A connection
    /// that cannot be written to for `write_timeout` is closed. The caller must run the returned future, which ends when this value is
    /// dropped.
    pub fn new(
        listener: TcpListener,
        slots: ConnectionSlots,
        write_timeout: Duration,
        draining: ListenerDrain,
        tls: Option<Tls>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, connections) = mpsc::channel(QUEUED_CONNECTIONS);
        let accepting = accept(listener, slots, write_timeout, draining, tls, sender);
        (Self { connections }, accepting)
    }

    /// Returns the next connection, or `None` once accepting has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<(Connection, SocketAddr)> {
        self.connections.recv().await
    }
}

async fn accept(
    listener: TcpListener,
    slots: ConnectionSlots,
    write_timeout: Duration,
    draining: ListenerDrain,
    tls: Option<Tls>,
    sender: mpsc::Sender<(Connection, SocketAddr)>,
) {
    // Handshakes are aborted when their listener ends. Their number is limited by the permits.
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let acquired = tokio::select! {
            acquired = slots.acquire() => acquired,
            () = sender.closed() => return,
        };
        let Some((own, shared)) = acquired else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // An error of a single connection requires no pause, but an error of the whole system does.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    tracing::error!(%error, "failed to accept a connection; retrying");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
                continue;
            }
        };
        // The address has too many connections, so close this one. No request was received yet, so there is nothing to respond to.
        let Some(permit) = slots.per_address.admit(from) else { continue };
        let permits = (own, shared, permit);
        // Disable Nagle's algorithm, which would delay small responses. Ignore errors: such a connection also fails on its first read.
        let _ = stream.set_nodelay(true);
        let sender = sender.clone();
        match &tls {
            None => {
                let connection = Connection::new(Stream::Plain(stream), write_timeout, draining.connection(), permits);
                if sender.send((connection, from)).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                let drain = draining.connection();
                // Each handshake runs in its own task, so a slow one does not delay others.
                handshakes.spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                        Ok(Ok(stream)) => {
                            let connection = Connection::new(Stream::Tls(Box::new(stream)), write_timeout, drain, permits);
                            // An error means that the server has stopped accepting connections.
                            let _ = sender.send((connection, from)).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%error, %from, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%from, "TLS handshake timed out"),
                    }
                });
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closer.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(timed_out("the peer leaves too many responses unread")));
        }
        let before = buffer.filled().len();
        let read = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if read.is_pending() && this.is_drained(cx) {
            return Poll::Ready(Err(draining_error()));
        }
        this.drain.add_read(buffer.filled().len() - before);
        if let Some(preface) = &mut this.preface {
            if read.is_pending() {
                ready!(preface.deadline.as_mut().poll(cx));
                return Poll::Ready(Err(timed_out("the peer sent no request in time")));
            }
            if preface.receive(&buffer.filled()[before..]) {
                this.preface = None;
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.record_written(&written);
        self.with_timeout(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        };
        self.record_written(&written);
        self.with_timeout(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.stream {
            // Plain TCP buffers nothing: flushing succeeds immediately even while writing is blocked, so a flush must not reset the write
            // timeout.
            Stream::Plain(stream) => return Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.with_timeout(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.with_timeout(cx, shut)
    }
}
