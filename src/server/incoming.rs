//! Connections as they come in: counted, with TLS or without, each handshake by itself.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::server::TlsStream;

use super::tls::Tls;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections that wait to be taken by the server.
const WAITING: usize = 64;

/// How long nothing is accepted after the system refused to, as it does without free file descriptors.
const REST: Duration = Duration::from_millis(100);

/// A connection, for as long as it counts.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    _counted: OwnedSemaphorePermit,
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
    address: SocketAddr,
}

impl Incoming {
    /// Accepts from a listener, at most `limit` connections at once; more wait in the system's queue. Ends with its listener's server.
    ///
    /// # Errors
    /// When the listener has no address any more.
    pub fn over(listener: TcpListener, limit: usize, tls: Option<Tls>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, connections) = mpsc::channel(WAITING);
        tokio::spawn(accept(listener, Arc::new(Semaphore::new(limit)), tls, sender));
        Ok(Self { connections, address })
    }

    /// The next connection; none once nobody accepts any more. Cancel safe.
    pub async fn next(&mut self) -> Option<(Connection, SocketAddr)> {
        self.connections.recv().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, room: Arc<Semaphore>, tls: Option<Tls>, sender: mpsc::Sender<(Connection, SocketAddr)>) {
    loop {
        // The semaphore is never closed.
        let Ok(counted) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
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
        // Without it, small answers wait for each other; a connection that fails here fails on its first read too.
        let _ = stream.set_nodelay(true);
        let sender = sender.clone();
        match &tls {
            None => {
                let stream = Stream::Plain(stream);
                let connection = Connection { stream, _counted: counted };
                if sender.send((connection, from)).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                // Each by itself: one that is slow holds nobody up. There are as many as there may be connections.
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, handshake).await {
                        Ok(Ok(stream)) => {
                            let stream = Stream::Tls(Box::new(stream));
                            let connection = Connection { stream, _counted: counted };
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
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
