//! The event log of each account, its tail cache in memory, and the subscriptions that read them.
//!
//! The database is the source of truth. The broadcaster only caches the tails of logs and wakes subscribers, so a restart, a commit on
//! another replica or a lost notification never loses an event.

use std::sync::Arc;

mod account_channel;
pub mod broadcaster;
mod change;
mod config;
pub mod consumer;
pub mod conversion;
pub mod cursor;
mod delivery_meter;
pub mod ephemeral;
pub mod erasure;
pub mod event_record;
mod event_size;
pub mod filter;
pub mod history;
mod inbox_scope;
pub mod kind;
pub mod log;
mod log_range;
pub mod log_stats;
pub mod mark;
pub mod nats;
pub mod payload;
pub mod pending_event;
mod redaction;
pub mod replicas;
pub mod retention;
mod snapshot;
pub mod subscription;
mod tail;

pub use config::{Config, RetentionLimits};

/// The event logs and the broadcaster that publishes their commits to subscribers.
#[derive(Clone, Debug)]
pub struct Events {
    pub log: log::Log,
    /// Caches the tails of followed logs and wakes their subscribers.
    pub broadcaster: Arc<broadcaster::Broadcaster>,
}
