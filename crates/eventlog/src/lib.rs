//! What happened, in order: the log of each account, its tail in memory, and subscriptions to it.
//!
//! The log is the truth. The hub only rings and keeps tails; a restart, another replica or a missed bell loses nothing.

use std::{sync::Arc, time::Duration};

mod bounds;
pub mod consumer;
pub mod conversion;
pub mod cursor;
pub mod draft;
pub mod entry;
pub mod ephemeral;
pub mod erasure;
mod feed;
pub mod figures;
pub mod filter;
pub mod follow;
pub mod history;
pub mod hub;
pub mod kind;
pub mod log;
pub mod mark;
mod meter;
mod narrow;
pub mod payload;
pub mod relay;
pub mod retention;
mod snapshot;
pub mod subscription;
mod tail;

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

/// The events room: the log and the hub over it.
#[derive(Clone, Debug)]
pub struct Events {
    /// The log.
    pub log: log::Log,
    /// The tails and bells.
    pub hub: Arc<hub::Hub>,
}
