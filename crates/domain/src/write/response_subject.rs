//! Determines which contact a stored response is about: the erasure of a contact erases the responses about it.

use std::sync::Arc;

use parley_storage::{
    entity::{account, agent_bot},
    joined,
};
use parley_types::id::ContactId;

/// Represents several contacts, or an unknown one: the erasure of any contact of the account erases the response.
pub const ANY_CONTACT: ContactId = ContactId(0);

/// The result of a call, whose encoded form is stored if the call has an idempotency key.
///
/// A result that contains a contact's data must name the contact. For other results, the contact follows from the events of the write.
pub trait ResponseSubject {
    /// Returns the contact whose data the result contains.
    fn contact(&self) -> Option<ContactId> {
        None
    }

    /// Returns the contact to store if neither the result nor an event of the write names one.
    fn contact_without_events() -> Option<ContactId> {
        None
    }
}

impl ResponseSubject for joined::Client {
    fn contact(&self) -> Option<ContactId> {
        Some(self.contact.row.id)
    }
}

impl ResponseSubject for joined::ContactSessions {
    fn contact(&self) -> Option<ContactId> {
        Some(self.contact.row.id)
    }
}

impl ResponseSubject for joined::Session {
    fn contact(&self) -> Option<ContactId> {
        Some(self.row.contact_id)
    }
}

impl ResponseSubject for joined::Note {
    fn contact(&self) -> Option<ContactId> {
        Some(self.row.contact_id)
    }
}

impl ResponseSubject for joined::ConversationSummary {
    fn contact(&self) -> Option<ContactId> {
        Some(self.conversation.row.contact_id)
    }
}

impl ResponseSubject for joined::Message {
    /// The contact is unknown: a message names only its conversation, and an update without changes adds no event that names the contact.
    fn contact_without_events() -> Option<ContactId> {
        Some(ANY_CONTACT)
    }
}

// A write that creates messages adds events, which name the contacts.
impl ResponseSubject for Vec<Arc<joined::Message>> {}

impl ResponseSubject for () {}
impl ResponseSubject for account::Model {}
impl ResponseSubject for Arc<agent_bot::Model> {}
impl ResponseSubject for joined::Agent {}
impl ResponseSubject for Vec<joined::Agent> {}
impl ResponseSubject for Arc<joined::Inbox> {}
