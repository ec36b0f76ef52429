//! Conversion of stored rows to messages of the contract, with one file per resource.
//!
//! Rows and messages are defined in other crates, so this crate has its own traits instead of `From` and `Into`.

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

pub use claimed::InConversation;
pub use client::{client_conversation, client_message};
pub use inbox::{CredentialsShown, inbox_of};
pub use message::without_sender_contact;
pub use visitor::Visitor;

/// A message of the contract that is built from a stored row, or from rows that belong together.
pub trait FromStored<R> {
    fn from_stored(stored: R) -> Self;
}

/// A write that returns no resource.
impl FromStored<&()> for () {
    fn from_stored((): &()) {}
}

/// Conversion as a method: the counterpart of [`FromStored`], as `Into` is that of `From`.
pub trait ToProto {
    fn to_proto<'a, M: FromStored<&'a Self>>(&'a self) -> M {
        M::from_stored(self)
    }
}

impl<R> ToProto for R {}
