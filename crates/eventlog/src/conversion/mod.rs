//! Converts stored rows to the protobuf messages of the API contract, with one file per resource.
//!
//! Rows and messages are defined in other crates, so this crate defines its own traits instead of implementing `From` and `Into`.

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

/// A protobuf message of the API contract that can be built from a stored row, or from several rows that belong together.
pub trait FromStored<R> {
    fn from_stored(stored: R) -> Self;
}

/// Converts the result of a write that returns no resource.
impl FromStored<&()> for () {
    fn from_stored((): &()) {}
}

/// Provides the conversion as a method. This trait is to [`FromStored`] as `Into` is to `From`.
pub trait ToProto {
    fn to_proto<'a, M: FromStored<&'a Self>>(&'a self) -> M {
        M::from_stored(self)
    }
}

impl<R> ToProto for R {}
