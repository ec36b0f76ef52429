//! The configuration of the log and its subscriptions.

use std::time::Duration;

/// How much the hub may hold, and how streams behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// Events that an account's tail holds at most.
    pub tail_events: usize,
    /// Bytes that an account's tail holds at most.
    pub tail_bytes: usize,
    /// Bytes of events after which a response message is full; one event may be larger.
    pub frame_bytes: usize,
    /// Events that one read of the log returns at most.
    pub page_events: u64,
    /// How often the log's heads are looked up, in case a signal was lost.
    pub poll_interval: Duration,
    /// How often a bookmark comes when the subscriber does not say.
    pub default_heartbeat: Duration,
    /// Streams that may be open at once.
    pub max_streams: usize,
}
