//! The database layer: connections, tables, migrations, and queries that load rows together with related rows. It contains no business
//! rules.

pub mod advisory;
pub mod connect;
mod connection_errors;
pub mod copy;
pub mod dialect;
pub mod entity;
mod examine;
pub mod joined;
pub mod load;
mod migrate;
pub mod migration;
pub mod octets;
pub mod outage;
mod oversized;
pub mod present;
pub mod submitted;

pub use connect::{Config, Database, IDLE, OpenError, lock_beside, sqlite_file};
pub use dialect::Dialect;
pub use migrate::{Gap, SchemaStatus};
pub use oversized::Oversized;
