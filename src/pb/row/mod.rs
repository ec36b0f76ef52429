//! How rows become words of the wire, a file per noun.

mod account;
mod agent_bot;
mod contact;
mod conversation;
mod inbox;
mod message;

pub use inbox::{Reveal, inbox_of};
pub use message::lean;
