//! The verbs and their rules: what may be done, and what follows from it. Knows neither gRPC nor JSON bodies.

use crate::{db::Database, events::Events};

pub mod accounts;
pub mod bootstrap;
pub mod call;
pub mod caller;
pub mod contact_list;
pub mod contacts;
pub mod conversation_list;
pub mod conversations;
pub mod inboxes;
mod load;
pub mod members;
pub mod messages;
pub mod page;
pub mod rules;
pub mod tokens;
pub mod writer;

/// The verbs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chat {
    /// Where rows are read.
    pub(crate) db: Database,
    /// Where events are read.
    pub events: Events,
    /// Where everything is written.
    pub(crate) writer: writer::Writer,
    /// Who tokens speak for.
    pub tokens: tokens::Tokens,
}

impl Chat {
    /// The verbs over a database, its events, and a writer that runs.
    pub fn new(db: Database, events: Events, writer: writer::Writer, tokens: tokens::Tokens) -> Self {
        Self {
            db,
            events,
            writer,
            tokens,
        }
    }
}
