//! The event log of each account, its tail cache in memory, and the subscriptions that read them.
//!
//! The database is the source of truth. The broadcaster only caches the tails of logs and wakes subscribers, so a restart, a commit on
//! another replica or a lost notification never loses an event.

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

/// The event logs and the broadcaster that publishes their commits to subscribers.
#[derive(Clone, Debug)]
pub struct Events {
    pub log: log::Log,
    /// Caches the tails of followed logs and wakes their subscribers.
    pub hub: Arc<hub::Hub>,
}
