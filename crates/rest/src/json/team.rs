//! The JSON representation of teams.

use parley_proto as pb;

use super::{json_type::json_type, values::Id};
use crate::params::timestamps::Iso;

json_type! {
    /// A team of agents in an account.
    pub struct Team(team: pb::Team) {
        id: Id = team.id.into(),
        account_id: Id = team.account_id.into(),
        allow_auto_assign: bool = team.allow_auto_assign(),
        name: String = team.name,
        description: Option<String> = team.description,
        is_member: bool = team.is_member,
    }
}

json_type! {
    /// The raw record of a team, with times in ISO 8601.
    pub struct TeamRecord(team: pb::Team) {
        id: Id = team.id.into(),
        account_id: Id = team.account_id.into(),
        allow_auto_assign: bool = team.allow_auto_assign(),
        name: String = team.name,
        description: Option<String> = team.description,
        created_at: Iso = team.created_at.into(),
        updated_at: Iso = team.updated_at.into(),
    }
}
