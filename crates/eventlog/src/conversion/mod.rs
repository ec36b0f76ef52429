//! Conversion of stored rows to messages of the contract, a file per noun.
//!
//! Rows and messages belong to other crates, so these are traits of this one in place of `From` and `Into`.

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

/// A message of the contract that is built from a stored row, or from rows that belong together.
pub trait FromStored<R> {
    /// Builds the message.
    fn from_stored(stored: R) -> Self;
}

/// A stored row that becomes a message of the contract: the counterpart of [`FromStored`], implemented wherever that is.
pub trait ToProto {
    /// Builds the message.
    fn to_proto<'a, M: FromStored<&'a Self>>(&'a self) -> M {
        M::from_stored(self)
    }
}

impl<R> ToProto for R {}
