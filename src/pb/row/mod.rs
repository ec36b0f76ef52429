//! How rows become words of the wire, a file per noun.

mod account;
mod agent_bot;
mod claimed;
mod client;
mod contact;
mod conversation;
mod inbox;
mod message;
mod records;
mod team;
mod visitor;

pub use claimed::OfConversation;
pub use client::{client_conversation, client_message};
pub use inbox::{Reveal, inbox_of};
pub use message::lean;
pub use visitor::Visitor;
