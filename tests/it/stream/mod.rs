//! The contract of the stream: tests for each numbered statement, with the number in their names.

mod consume;
mod consume_shards;
mod end_cursors;
mod ends;
mod envelope;
mod ephemeral;
mod epoch;
mod erasure;
mod filters;
mod frames;
mod histories;
mod order;
mod reads;
mod replicas;
mod resume;
mod retention;
mod server_sent;
mod slow;
mod snapshot;
mod snapshot_bots;
mod snapshot_filters;
mod snapshot_parts;
mod stalled;
mod start;
mod writes;
