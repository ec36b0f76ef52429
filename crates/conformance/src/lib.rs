//! A server that misbehaves, one scenario at a time: whoever follows it must end as the scenario says.
//!
//! Ten events are to be had of account 1, whatever breaks on the way. Start [`serve`] with a [`Scenario`] of [`SCENARIOS`], let the client
//! under test follow from `earliest` with a heartbeat of one second, and compare. `examples/misbehaving_server.rs` serves one for clients in
//! other languages.

mod script;
mod server;

pub use script::{Act, Expect, SCENARIOS, Scenario};
pub use server::{Seen, serve};

/// The events of the account that the server speaks of.
pub const EVENTS: u64 = 10;
