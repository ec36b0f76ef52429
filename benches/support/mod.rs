//! The harness of the benchmarks: the processes under test, the baseline programs, measurements and the result table.

pub mod baseline;
#[path = "../../tests/support/cluster.rs"]
#[allow(dead_code)] // the benchmarks never crash a cluster, and use default durability
pub mod cluster;
pub mod fixture;
pub mod measurements;
pub mod nats;
pub mod pgbench;
pub mod server;
pub mod sql;
pub mod table;

/// The content of a message: about 200 bytes, the same as in `sql/naive.sql`.
pub const CONTENT: &str = "the order arrived damaged and I would like a replacement sent to my new address please the order arrived \
damaged and I would like a replacement sent to my new address please the order arrived damaged ";
