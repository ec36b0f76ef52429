//! The dependencies that the types of the domain share.

use parley_eventlog::Events;
use parley_storage::{Database, outage::Outage};

use crate::{audit::AuditLog, auth::tokens::Tokens, files::Files, messages::batch::MessageWriter};

/// The dependencies that the types of the domain share: database, event log, writer, tokens, files and audit log.
#[derive(Clone, Debug)]
pub struct Context {
    /// The database. Types read from it directly and write through `writer`, except for rows outside of accounts.
    pub(crate) db: Database,
    /// The event log and its broadcaster.
    pub events: Events,
    /// Executes all writes that append events.
    pub(crate) writer: MessageWriter,
    /// Access tokens, and the cache of callers.
    pub tokens: Tokens,
    /// Uploaded files.
    pub files: Files,
    /// The audit log.
    pub audit: AuditLog,
}

impl Context {
    /// Combines the dependencies. `writer` must be running, and all others must use `db`.
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

    /// Whether the database is known to be unavailable.
    pub fn outage(&self) -> Outage {
        self.db.outage().clone()
    }
}
