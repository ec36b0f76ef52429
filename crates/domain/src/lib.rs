//! The domain layer: operations and their business rules. Each kind of resource has one type, and all types share one context. The layer is
//! independent of gRPC and JSON.

use parley_storage::{Database, entity::idempotency_key};
use parley_types::{error::Result, time::Micros};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

// Re-export the row types and enums that operations accept and return, so that callers do not depend on `parley_storage`.
pub use parley_storage::{entity::kind, joined};

/// The database row types that operations return without converting them.
pub mod record {
    pub use parley_storage::entity::{canned_response, custom_attribute_definition, label};
}

pub mod attributes;
pub mod audit;
pub mod auth;
pub mod cache_keys;
pub mod client;
mod config;
pub mod consumers;
pub mod contacts;
mod context;
pub mod conversations;
mod domain;
pub mod files;
pub mod filter;
pub mod inboxes;
pub mod mail;
pub mod messages;
pub mod page;
mod patch;
pub mod people;
pub mod records;
pub mod search;
pub mod write;

pub use config::Config;
pub use context::Context;
pub use domain::Domain;
pub use parley_storage::outage::Outage;

/// Deletes the stored responses to requests that arrived before `before`. Returns the number of deleted rows.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if the statement fails.
pub async fn forget_keys(db: &Database, before: Micros) -> Result<u64> {
    let gone = idempotency_key::Entity::delete_many()
        .filter(idempotency_key::Column::CreatedAt.lt(before))
        .exec(db.write())
        .await?;
    Ok(gone.rows_affected)
}
