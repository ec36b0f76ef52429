//! The dependencies that all domain types share.

use parley_eventlog::Events;
use parley_storage::{Database, outage::Outage};

use crate::{audit::AuditLog, auth::tokens::Tokens, files::Files, messages::batch::MessageWriter};

/// The dependencies that all domain types share: database, event log, writer, tokens, files and audit log.
#[derive(Clone, Debug)]
pub struct Context {
    /// The database. Domain types read from it directly. They write through `writer`, except for rows that belong to no account.
    pub(crate) db: Database,
    /// The event log and its broadcaster.
    pub events: Events,
    /// The writer, which executes all writes that append events.
    pub(crate) writer: MessageWriter,
    /// Access tokens, and the cache of callers.
    pub tokens: Tokens,
    /// Uploaded files.
    pub files: Files,
    /// The audit log.
    pub audit: AuditLog,
}

impl Context {
    /// Creates the context. `writer` must be running, and all other dependencies must use `db`.
    pub fn new(db: Database, events: Events, writer: MessageWriter, tokens: Tokens, files: Files, audit: AuditLog) -> Self {
        Self {
            db,
            events,
            writer,
            tokens,
            files,
            audit,
        }
    }

    /// Returns whether the database is known to be unavailable.
    pub fn outage(&self) -> Outage {
        self.db.outage().clone()
    }
}
