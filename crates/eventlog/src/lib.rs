//! What happened, in order: the log of each account, its tail in memory, and subscriptions to it.
//!
//! The log is the truth. The hub only rings and keeps tails; a restart, another replica or a missed bell loses nothing.

use std::sync::Arc;

mod change;
mod config;
pub mod consumer;
pub mod conversion;
pub mod cursor;
pub mod draft;
pub mod entry;
pub mod ephemeral;
pub mod erasure;
mod event_size;
mod feed;
pub mod figures;
pub mod filter;
pub mod history;
pub mod hub;
pub mod kind;
pub mod log;
mod log_range;
pub mod mark;
mod meter;
mod narrow;
pub mod nats;
pub mod payload;
mod redaction;
pub mod replicas;
pub mod retention;
mod snapshot;
pub mod subscription;
mod tail;

pub use config::Config;

/// The events room: the log and the hub over it.
#[derive(Clone, Debug)]
pub struct Events {
    /// The log.
    pub log: log::Log,
    /// The tails and bells.
    pub hub: Arc<hub::Hub>,
}
