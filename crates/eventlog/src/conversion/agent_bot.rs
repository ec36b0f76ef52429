//! Conversion of agent bots.

use std::sync::Arc;

use parley_proto::{self as pb, value::timestamp};
use parley_storage::entity::agent_bot;

use super::FromStored;

impl FromStored<&Arc<agent_bot::Model>> for pb::AgentBot {
    fn from_stored(row: &Arc<agent_bot::Model>) -> Self {
        Self::from_stored(row.as_ref())
    }
}

impl FromStored<&agent_bot::Model> for pb::AgentBot {
    fn from_stored(row: &agent_bot::Model) -> Self {
        Self {
            id: row.id.0,
            account_id: row.account_id.map(i64::from),
            name: row.name.clone(),
            description: row.description.clone(),
            outgoing_url: row.outgoing_url.clone(),
            avatar_url: row.avatar_url.clone(),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
        }
    }
}
