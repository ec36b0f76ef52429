//! Connections that wait for their client to finish before they are gone.
//!
//! A request that is refused before all of it came (413, 400) leaves bytes unread, and closing such a connection makes the system
//! reset it: the client may then lose the answer that is on its way. So what still comes is read and dropped for a while.

use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

/// How long a client may take to notice.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that are read and dropped at most.
const DROPPED: usize = 64 * 1024 * 1024;

/// A listener whose connections linger.
#[derive(Debug)]
pub struct Lingering(pub TcpListener);

impl Listener for Lingering {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Without it, small answers wait for each other; a connection that fails here fails on its first read too.
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            stream,
            ending: None,
            left: DROPPED,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A TCP connection that lingers.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Runs once our side has said its last.
    ending: Option<Pin<Box<Sleep>>>,
    left: usize,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
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
        if self.ending.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.ending = Some(Box::pin(sleep(PATIENCE)));
        }
        let mut scratch = [0; 16 * 1024];
        while self.left > 0 {
            if let Some(ending) = &mut self.ending
                && ending.as_mut().poll(cx).is_ready()
            {
                break;
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.left = self.left.saturating_sub(buffer.filled().len()),
                // It has noticed, one way or another.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
