//! Connections as they come in: counted, with TLS or without, each handshake by itself. One whose other end says nothing to begin with, or
//! takes nothing any more, ends: it would keep its place for ever.

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
    closing::Closer,
    draining::{Activity, Closing, Draining},
    per_address::{PerAddress, Permit},
    tls::Tls,
};

/// How long a handshake may take, and then the choice between HTTP/1 and HTTP/2, which the first bytes make.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections that wait to be taken by the server.
const WAITING: usize = 64;

/// How long nothing is accepted after the system refused to, as it does without free file descriptors.
const REST: Duration = Duration::from_millis(100);

/// A connection, for as long as it counts.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// None once it has begun.
    opening: Option<Opening>,
    /// Runs while nothing can be written.
    stuck: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    closer: Closer,
    closing: Closing,
    /// It has to end: every read and write that would wait fails.
    is_over: bool,
    _counted: Counted,
}

/// How many connections a listener may have, how many it and others may have together, and how many of those one client address.
#[derive(Clone, Debug)]
pub struct Room {
    own: Arc<Semaphore>,
    shared: Arc<Semaphore>,
    per_address: Arc<PerAddress>,
}

/// What a connection takes of all three.
type Counted = (OwnedSemaphorePermit, OwnedSemaphorePermit, Permit);

impl Room {
    /// `own` connections of one listener, as far as `shared` has room.
    pub fn new(own: usize, shared: Arc<Semaphore>, per_address: Arc<PerAddress>) -> Self {
        Self {
            own: Arc::new(Semaphore::new(own)),
            shared,
            per_address,
        }
    }

    /// Waits until there is room for a connection. None never comes: the semaphores are never closed.
    async fn take(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let shared = Arc::clone(&self.shared).acquire_owned().await.ok()?;
        Some((own, shared))
    }
}

/// What every connection of HTTP/2 begins with. Whoever serves both waits for as many bytes as tell the two apart, however long it takes.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The beginning of a connection, until its version is known.
#[derive(Debug)]
struct Opening {
    /// Bytes of [`PREFACE`] that came.
    came: usize,
    late: Pin<Box<Sleep>>,
}

impl Opening {
    /// Takes in what came; whether the version is known now.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.came..];
        self.came += bytes.len().min(rest.len());
        self.came == PREFACE.len() || !rest.starts_with(bytes)
    }
}

impl Connection {
    fn new(stream: Stream, patience: Duration, closing: Closing, counted: Counted) -> Self {
        let late = Box::pin(sleep(HANDSHAKE));
        Self {
            stream,
            opening: Some(Opening { came: 0, late }),
            stuck: None,
            patience,
            closer: Closer::default(),
            closing,
            is_over: false,
            _counted: counted,
        }
    }

    /// What closes this connection, for its requests.
    pub fn closer(&self) -> Closer {
        self.closer.clone()
    }

    /// Where requests of this connection are counted.
    pub fn activity(&self) -> Arc<Activity> {
        self.closing.activity()
    }

    /// Whether the connection has to end, because its listener drains.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_over = self.is_over || self.closing.poll_end(cx).is_ready();
        self.is_over
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.closing.written(*bytes);
        }
    }

    /// What was written, or an error once nothing could be for too long.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.closing.blocked(written.is_pending());
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        if self.is_over(cx) {
            return Poll::Ready(Err(over()));
        }
        let patience = self.patience;
        ready!(self.stuck.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(late("its other end takes nothing")))
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the listener drains")
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a listener is served from.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<(Connection, SocketAddr)>,
}

impl Incoming {
    /// Accepts from a listener as many connections at once as there is room for; more wait in the system's queue. One that could not be written to for
    /// `patience` ends. The task that accepts them is the caller's to run; it ends with its listener's server.
    pub fn over(
        listener: TcpListener,
        room: Room,
        patience: Duration,
        draining: Draining,
        tls: Option<Tls>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, connections) = mpsc::channel(WAITING);
        let accepting = accept(listener, room, patience, draining, tls, sender);
        (Self { connections }, accepting)
    }

    /// The next connection; none once nobody accepts any more. Cancel safe.
    pub async fn next(&mut self) -> Option<(Connection, SocketAddr)> {
        self.connections.recv().await
    }
}

async fn accept(
    listener: TcpListener,
    room: Room,
    patience: Duration,
    draining: Draining,
    tls: Option<Tls>,
    sender: mpsc::Sender<(Connection, SocketAddr)>,
) {
    // Handshakes end with their listener. There are as many as there may be connections.
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let room_taken = tokio::select! {
            taken = room.take() => taken,
            () = sender.closed() => return,
        };
        let Some((own, shared)) = room_taken else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // One connection's fault is over; the system's needs a while.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    tracing::error!(%error, "no connection can be accepted; trying again");
                    tokio::time::sleep(REST).await;
                }
                continue;
            }
        };
        // Nothing was said yet, so nothing can be answered: it is closed.
        let Some(permit) = room.per_address.admit(from) else { continue };
        let counted = (own, shared, permit);
        // Without it, small answers wait for each other; a connection that fails here fails on its first read too.
        let _ = stream.set_nodelay(true);
        let sender = sender.clone();
        match &tls {
            None => {
                let connection = Connection::new(Stream::Plain(stream), patience, draining.connection(), counted);
                if sender.send((connection, from)).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                let closing = draining.connection();
                // Each by itself: one that is slow holds nobody up.
                handshakes.spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, handshake).await {
                        Ok(Ok(stream)) => {
                            let connection = Connection::new(Stream::Tls(Box::new(stream)), patience, closing, counted);
                            // An error: the server has stopped taking any.
                            let _ = sender.send((connection, from)).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%error, %from, "no TLS came about"),
                        Err(_) => tracing::debug!(%from, "the handshake took too long"),
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
            return Poll::Ready(Err(late("its other end leaves too many answers unread")));
        }
        let before = buffer.filled().len();
        let read = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if read.is_pending() && this.is_over(cx) {
            return Poll::Ready(Err(over()));
        }
        this.closing.read(buffer.filled().len() - before);
        if let Some(opening) = &mut this.opening {
            if read.is_pending() {
                ready!(opening.late.as_mut().poll(cx));
                return Poll::Ready(Err(late("its other end said nothing")));
            }
            if opening.hear(&buffer.filled()[before..]) {
                this.opening = None;
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
        self.note(&written);
        self.patiently(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        };
        self.note(&written);
        self.patiently(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.stream {
            // There is never anything left: a write that waits made no progress by that.
            Stream::Plain(stream) => return Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.patiently(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.patiently(cx, shut)
    }
}
