//! Configuration of the event log and its subscriptions.

use std::time::Duration;

/// Limits on caches, reads and streams, and intervals for polling and bookmarks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Maximum number of events in the tail cache of an account.
    pub tail_events: usize,
    /// Maximum number of bytes in the tail cache of an account.
    pub tail_bytes: usize,
    /// Size in bytes at which a response message is full. An event larger than this is sent in a message of its own.
    pub frame_bytes: usize,
    /// Maximum number of events that one read of the database returns.
    pub page_events: u64,
    /// Interval at which the heads of followed logs are polled, in case a notification was lost.
    pub poll_interval: Duration,
    /// Interval between bookmarks if the subscriber does not request one.
    pub default_heartbeat: Duration,
    /// Maximum number of open streams of all kinds combined.
    pub max_streams: usize,
}

/// Limits on the age and number of the events that a log keeps.
#[derive(Clone, Copy, Debug)]
pub struct RetentionLimits {
    /// The age from which an event can be removed. If the log contains more than `events` events, the oldest are removed earlier.
    pub age: Duration,
    /// The age up to which an event is kept for durable consumers that have not committed it.
    pub held: Duration,
    /// Maximum number of events of an account, even if consumers still need them. `None` for no limit.
    pub events: Option<i64>,
}
