//! Lets requests close the connection that carries them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

/// Maximum number of expired unread responses on a connection. Some are permitted, because a proxy multiplexes many clients on one
/// connection, and some of these clients can be stuck.
pub const MAX_UNREAD_RESPONSES: usize = 64;

/// Handle that closes one connection, stored in the extensions of the connection's requests. Cheap to clone. The default handle is attached
/// to no connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCloser(Arc<State>);

#[derive(Debug, Default)]
struct State {
    unread: AtomicUsize,
    is_closed: AtomicBool,
    reader: AtomicWaker,
}

impl ConnectionCloser {
    /// Counts a response that was not read in time, until the returned value is dropped. Exceeding [`MAX_UNREAD_RESPONSES`] closes the
    /// connection.
    pub fn count_unread(&self) -> UnreadResponse {
        if self.0.unread.fetch_add(1, Ordering::Relaxed) >= MAX_UNREAD_RESPONSES {
            self.0.is_closed.store(true, Ordering::Release);
            self.0.reader.wake();
        }
        UnreadResponse(self.clone())
    }

    /// Ready once the connection must be closed. Until then, registers the task to be woken.
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.reader.register(cx.waker());
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns whether the connection must be closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Acquire)
    }
}

/// A response that was not read in time and whose stream is still open.
#[derive(Debug)]
pub struct UnreadResponse(ConnectionCloser);

impl Drop for UnreadResponse {
    fn drop(&mut self) {
        self.0.0.unread.fetch_sub(1, Ordering::Relaxed);
    }
}
