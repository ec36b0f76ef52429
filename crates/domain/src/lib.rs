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

pub mod attributes;
pub mod audit;
pub mod auth;
pub mod cache_keys;
pub mod client;
pub mod consumers;
pub mod contacts;
pub mod conversations;
pub mod files;
pub mod filter;
pub mod inboxes;
pub mod mail;
pub mod messages;
pub mod page;
pub mod people;
pub mod records;
pub mod search;
pub mod write;

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
    pub(crate) writer: messages::batch::MessageWriter,
    /// Who tokens speak for.
    pub tokens: auth::tokens::Tokens,
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
        writer: messages::batch::MessageWriter,
        tokens: auth::tokens::Tokens,
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
