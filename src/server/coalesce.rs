//! Connections whose small answers go out together.
//!
//! Two things part them otherwise. h2 flushes after every DATA frame that it does not copy into its buffer: frames of 256
//! bytes and more where the connection can write several buffers at once, of 1,024 bytes and more where it cannot
//! (`CHAIN_THRESHOLD` in h2's `framed_write`); most answers lie between the two. And the task of a connection runs right
//! after the first of the calls that were answered, so a batch of sixteen would cost sixteen system calls. So it lets the
//! tasks that are ready go first: a turn of the scheduler, no timer.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::{in_flight::Peer, incoming::Connection};

/// A connection that writes one buffer at a time, after what is ready has put in its share.
#[derive(Debug)]
pub struct Coalesced {
    stream: Connection,
    from: SocketAddr,
    /// Others had their turn since the last flush.
    waited: bool,
}

impl Coalesced {
    /// Wraps a connection that came from an address.
    pub fn new(stream: Connection, from: SocketAddr) -> Self {
        Self {
            stream,
            from,
            waited: false,
        }
    }
}

impl Connected for Coalesced {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            from: self.from,
            activity: self.stream.activity(),
            closer: self.stream.closer(),
        }
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Coalesced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !std::mem::replace(&mut self.waited, true) {
            // A task that wakes itself goes to the end of the queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waited = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
