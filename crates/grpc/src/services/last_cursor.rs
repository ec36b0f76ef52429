//! Where an open stream is.

use std::sync::{Arc, Mutex, PoisonError};

use parley_eventlog::cursor::Cursor;

/// Where a stream is, for the status that ends it. It is shared because the stream itself may be dropped before its reader can be told.
#[derive(Clone, Debug, Default)]
pub struct LastCursor(Arc<Mutex<Option<Cursor>>>);

impl LastCursor {
    /// Notes where the stream is; absent while it cannot be continued.
    pub fn set(&self, cursor: Option<Cursor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
    }

    /// Where the stream is.
    pub fn get(&self) -> Option<Cursor> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
