//! The JSON of teams.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use crate::{
    openapi::schema::{self, Schema, flag, id, text},
    params::timestamps::iso,
};

/// A team, with the caller's membership.
pub fn team(team: &pb::Team) -> Json {
    json!({
        "id": team.id,
        "name": team.name,
        "description": team.description,
        "allow_auto_assign": team.allow_auto_assign(),
        "account_id": team.account_id,
        "is_member": team.is_member,
    })
}

/// The raw record, as returned by an assignment.
pub fn raw(team: &pb::Team) -> Json {
    json!({
        "id": team.id,
        "name": team.name,
        "description": team.description,
        "allow_auto_assign": team.allow_auto_assign(),
        "account_id": team.account_id,
        "created_at": iso(team.created_at.as_ref()),
        "updated_at": iso(team.updated_at.as_ref()),
    })
}

/// The schema of [`raw`].
pub fn raw_schema() -> Schema {
    schema::object()
        .keys(&["id", "account_id"], &id())
        .key("name", text())
        .key("description", text().or_null())
        .key("allow_auto_assign", flag())
        .keys(&["created_at", "updated_at"], &schema::iso())
        .named("TeamRecord")
}

/// The schema of [`team`].
pub fn schema() -> Schema {
    schema::object()
        .keys(&["id", "account_id"], &id())
        .key("name", text())
        .key("description", text().or_null())
        .keys(&["allow_auto_assign", "is_member"], &flag())
        .named("Team")
}
