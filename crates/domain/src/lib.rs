//! The verbs and their rules: what may be done, and what follows from it. Knows neither gRPC nor JSON bodies.

use parley_eventlog::Events;
use parley_storage::{Database, entity::idempotency_key};
use parley_types::{error::Result, time::Micros};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

// What the verbs take and answer with: the doors need no other word from the database's room.
pub use parley_storage::{entity::kind, joined};

/// Rows that the verbs answer with as they are.
pub mod record {
    pub use parley_storage::entity::{canned_response, custom_attribute_definition, label};
}

pub mod accounts;
pub mod agent_bots;
pub mod agents;
mod announcements;
pub mod attributes;
pub mod audit;
pub mod automatic;
pub mod bootstrap;
pub mod cache_keys;
pub mod call;
pub mod caller;
pub mod canned_responses;
pub mod client;
pub mod consumers;
pub mod contact_list;
pub mod contact_merge;
pub mod contact_notes;
mod contact_scope;
pub mod contact_search;
pub mod contacts;
pub mod conversation_attachments;
pub mod conversation_changes;
pub mod conversation_list;
pub mod conversation_marks;
pub mod conversation_order;
pub mod conversation_status;
pub mod conversations;
pub mod custom_attribute_definitions;
mod erasure;
mod few;
pub mod files;
pub mod filter;
pub mod filtered;
pub mod idempotency;
pub mod inbox_members;
pub mod inboxes;
mod labelled;
pub mod labels;
pub mod liquid;
pub mod logins;
pub mod mail;
pub mod members;
pub mod messages;
pub mod page;
pub mod participants;
pub mod presence;
pub mod pubsub;
mod receipts;
mod records;
pub mod removal;
pub mod rules;
pub mod search;
mod secrets;
pub mod self_service;
pub mod sessions;
pub mod team_members;
pub mod teams;
pub mod tokens;
pub mod transcripts;
pub mod turns;
pub mod users;
pub mod waking;
pub mod writer;

pub use parley_storage::outage::Outage;

/// How the verbs work.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether mails are sent.
    pub mails: bool,
    /// Searches that run at once; eight times as many may wait.
    pub concurrent_searches: usize,
}

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
    /// Where files lie.
    pub files: files::Files,
    /// Where audited calls hand in their events.
    pub audit: audit::AuditLog,
    /// Whether mails are sent.
    mails: bool,
    /// How many searches run at once.
    searches: search::scan::SearchLimit,
    /// Signs users' pubsub tokens; read when it is needed first.
    pubsub_key: std::sync::Arc<tokio::sync::OnceCell<[u8; 32]>>,
}

impl Chat {
    /// The verbs over a database, its events, and a writer that runs.
    pub fn new(
        db: Database,
        events: Events,
        writer: writer::Writer,
        tokens: tokens::Tokens,
        files: files::Files,
        audit: audit::AuditLog,
        config: Config,
    ) -> Self {
        Self {
            db,
            events,
            writer,
            tokens,
            files,
            audit,
            mails: config.mails,
            searches: search::scan::SearchLimit::new(config.concurrent_searches),
            pubsub_key: std::sync::Arc::default(),
        }
    }
}

impl Chat {
    /// Whether the database is known to be away.
    pub fn outage(&self) -> Outage {
        self.db.outage().clone()
    }
}

/// Forgets the answers to requests from before `before`, and says how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_keys(db: &Database, before: Micros) -> Result<u64> {
    let gone = idempotency_key::Entity::delete_many()
        .filter(idempotency_key::Column::CreatedAt.lt(before))
        .exec(db.write())
        .await?;
    Ok(gone.rows_affected)
}
