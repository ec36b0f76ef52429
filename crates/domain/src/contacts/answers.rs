//! What commands on contacts answer with.

use parley_storage::joined::{ContactSessions, Session};

/// A contact that was made, and the session that was made with it.
#[derive(Clone, Debug)]
pub struct CreatedContact {
    /// The contact with its sessions.
    pub contact: ContactSessions,
    /// The session.
    pub session: Option<Session>,
}
