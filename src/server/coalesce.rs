//! Connections that coalesce small responses into fewer writes.
//!
//! Two effects would otherwise cause a write for each response. First, h2 flushes after every DATA frame that it does not copy into its
//! buffer: frames of 256 bytes or more on connections with vectored writes, and of 1,024 bytes or more on others (`CHAIN_THRESHOLD` in h2's
//! `framed_write`). The size of most responses is between these two. Second, the connection's task runs as soon as the first call of a
//! batch completes, so a batch of sixteen would need sixteen system calls. Therefore, before writing, the connection yields once to the
//! tasks that are ready. Yielding costs one pass through the scheduler's run queue and requires no timer.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::{in_flight::Peer, incoming::Connection};

/// A connection without vectored writes that yields once before it writes.
#[derive(Debug)]
pub struct Coalesced {
    stream: Connection,
    from: SocketAddr,
    /// Whether the connection has yielded since the last flush.
    has_yielded: bool,
}

impl Coalesced {
    /// Wraps a connection from the address `from`.
    pub fn new(stream: Connection, from: SocketAddr) -> Self {
        Self {
            stream,
            from,
            has_yielded: false,
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
        if !std::mem::replace(&mut self.has_yielded, true) {
            // Yield: a task that wakes itself is put at the end of the run queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_yielded = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
