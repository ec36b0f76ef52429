//! The results of operations on contacts.

use parley_storage::joined::{ContactSessions, Session};
use parley_types::id::ContactId;

use crate::write::response_subject::ResponseSubject;

/// A new contact, and the session that was created with it.
#[derive(Clone, Debug)]
pub struct CreatedContact {
    /// The contact with its sessions.
    pub contact: ContactSessions,
    /// The new session, if the request asked for one.
    pub session: Option<Session>,
}

impl ResponseSubject for CreatedContact {
    fn contact(&self) -> Option<ContactId> {
        self.contact.contact()
    }
}
