//! A server that misbehaves, one scenario at a time, to test clients of the event stream against.
//!
//! Account 1 has ten events, regardless of how its streams fail. Start [`serve`] with a [`Scenario`] of [`SCENARIOS`], let the client under
//! test follow from `earliest` with a heartbeat of one second, and compare how it ends with the scenario's `expect`.
//! `examples/misbehaving_server.rs` serves a scenario for clients in other languages.

mod script;
mod server;

pub use script::{Expect, SCENARIOS, Scenario, Step};
pub use server::{Requests, serve};

/// The number of events in the account's log.
pub const EVENTS: u64 = 10;
