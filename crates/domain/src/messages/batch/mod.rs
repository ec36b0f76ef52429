//! Storing new messages in batches: the planner, the cache of conversations and contacts, and the SQL statements.

mod auto_assign;
mod batches;
mod cache;
mod context;
pub(crate) mod flood;
mod load;
mod plan;
mod planner;
pub(crate) mod references;
mod store;

pub use batches::{Config, MessageBatches, MessageWriter};
