//! What commands on contacts answer with.

use parley_storage::joined::{ContactSessions, Session};
use parley_types::id::ContactId;

use crate::write::response_subject::ResponseSubject;

/// A contact that was made, and the session that was made with it.
#[derive(Clone, Debug)]
pub struct CreatedContact {
    /// The contact with its sessions.
    pub contact: ContactSessions,
    /// The session.
    pub session: Option<Session>,
}

impl ResponseSubject for CreatedContact {
    fn contact(&self) -> Option<ContactId> {
        self.contact.contact()
    }
}
