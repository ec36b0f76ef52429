//! Closing a connection from outside: by what serves its requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

/// Answers that a connection may leave unread beyond their time. A proxy carries many clients on one connection, of which some may be stuck.
pub const UNREAD: usize = 64;

/// Closes one connection; an extension of its requests. Cheap to clone. The default closes nothing.
#[derive(Clone, Debug, Default)]
pub struct Closer(Arc<State>);

#[derive(Debug, Default)]
struct State {
    unread: AtomicUsize,
    is_closed: AtomicBool,
    reader: AtomicWaker,
}

impl Closer {
    /// Counts an answer that was not taken in time, until it is dropped. Too many of them close the connection.
    pub fn unread(&self) -> UnreadAnswer {
        if self.0.unread.fetch_add(1, Ordering::Relaxed) >= UNREAD {
            self.0.is_closed.store(true, Ordering::Release);
            self.0.reader.wake();
        }
        UnreadAnswer(self.clone())
    }

    /// Ready once the connection is to be closed; else the reader is woken then.
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.reader.register(cx.waker());
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the connection is to be closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Acquire)
    }
}

/// An answer that was not taken in time, whose stream is still there.
#[derive(Debug)]
pub struct UnreadAnswer(Closer);

impl Drop for UnreadAnswer {
    fn drop(&mut self) {
        self.0.0.unread.fetch_sub(1, Ordering::Relaxed);
    }
}
