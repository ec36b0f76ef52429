//! A server that misbehaves on purpose, one scenario at a time, for testing clients of the event stream.
//!
//! Account 1 has ten events in every scenario. Start [`serve`] with one of the [`SCENARIOS`], let the client under test follow the events
//! from `earliest` with a heartbeat of one second, and compare the result with the `expect` field of the [`Scenario`].
//! `examples/misbehaving_server.rs` serves a scenario for clients in other languages.

mod script;
mod server;

pub use script::{Expect, SCENARIOS, Scenario, Step};
pub use server::{Requests, serve};

/// The number of events in the log that the conformance server serves.
pub const EVENTS: u64 = 10;
