//! The position of an open stream in the log, which is reported to the client when the stream ends.

use std::sync::{Arc, Mutex, PoisonError};

use parley_eventlog::cursor::Cursor;

/// The position of a stream, for the status that ends the stream. The position is shared, because a stalled stream is dropped before its
/// client can receive the status.
#[derive(Clone, Debug, Default)]
pub struct StreamPosition(Arc<Mutex<Option<Cursor>>>);

impl StreamPosition {
    /// Sets the position, or `None` while the stream cannot be resumed.
    pub fn set(&self, cursor: Option<Cursor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
    }

    /// Returns the current position, or `None` while the stream cannot be resumed.
    pub fn get(&self) -> Option<Cursor> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
