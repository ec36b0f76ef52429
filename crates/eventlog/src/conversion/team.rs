//! Conversion of teams.

use parley_proto::{self as pb, value::timestamp};
use parley_storage::entity::team;

use super::FromStored;

impl FromStored<&team::Model> for pb::Team {
    fn from_stored(row: &team::Model) -> Self {
        Self {
            id: row.id.0,
            account_id: row.account_id.0,
            name: row.name.clone(),
            description: row.description.clone(),
            allow_auto_assign: Some(row.allow_auto_assign),
            is_member: false,
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
        }
    }
}
