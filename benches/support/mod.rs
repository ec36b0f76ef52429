//! What the benchmarks stand on: the processes under test, the baselines' programs, figures and their table.

pub mod bare;
#[path = "../../tests/support/cluster.rs"]
#[allow(dead_code)] // the benchmarks crash no cluster, and want one with default durability
pub mod cluster;
pub mod gauge;
pub mod nats;
pub mod pgbench;
pub mod server;
pub mod sql;
pub mod table;
pub mod world;

/// The text of a message: about 200 bytes, the same as in `sql/naive.sql`.
pub const CONTENT: &str = "the order arrived damaged and I would like a replacement sent to my new address please the order arrived \
damaged and I would like a replacement sent to my new address please the order arrived damaged ";
