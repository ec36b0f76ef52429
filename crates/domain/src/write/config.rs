//! Settings of the writer.

/// Bounds of the writer.
#[derive(Clone, Debug)]
pub struct Config {
    /// Writer shards on PostgreSQL; SQLite has one.
    pub shards: usize,
    /// Calls that may wait in a shard's queue; further calls are refused as busy.
    pub queue: usize,
    /// Items, such as messages, in one batch. A call with more items forms a batch alone.
    pub batch_items: usize,
    /// Bytes of content after which a batch takes no further call.
    pub batch_bytes: usize,
    /// The protection to turn off, in tests only.
    #[cfg(feature = "faults")]
    pub fault: String,
}

impl Config {
    /// Whether the lock of the counter row is left out, in tests only.
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
