//! Settings for the writer.

/// The number of writer shards, and limits on their queues and batches.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of writer shards on PostgreSQL. On SQLite, there is always one.
    pub shards: usize,
    /// The capacity of a shard's queue, in writes; further writes are rejected with [`Error::Busy`](parley_types::error::Error::Busy).
    pub queue: usize,
    /// The number of items, such as messages, at which a batch is full. A call is never split, so the last call can exceed this number.
    pub batch_items: usize,
    /// The number of bytes of message content at which a batch is full. A plan whose events reach the same number of bytes defers the
    /// remaining calls.
    pub batch_bytes: usize,
    /// The name of the protection to disable, such as `counter_lock`; for tests only.
    #[cfg(feature = "faults")]
    pub fault: String,
}

impl Config {
    /// Returns whether the lock on the counter row is left out, in tests only.
    #[cfg(feature = "faults")]
    pub(super) fn unlocked(&self) -> bool {
        self.fault == "counter_lock"
    }

    #[cfg(not(feature = "faults"))]
    #[allow(clippy::unused_self)]
    pub(super) fn unlocked(&self) -> bool {
        false
    }
}
