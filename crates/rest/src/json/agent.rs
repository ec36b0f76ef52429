//! The JSON of users, as members of an account and as senders.

use parley_proto::{self as pb, Availability, Role};
use serde_json::{Value as Json, json};

use super::truncated;
use crate::{
    openapi::schema::{self, Schema, attributes, choice, flag, id, integer, iso, list, null, only, text},
    params::attributes::object,
};

/// `administrator` or `agent`; null if unspecified.
pub fn role(role: Role) -> Json {
    match role {
        Role::Unspecified => Json::Null,
        Role::Agent => json!("agent"),
        Role::Administrator => json!("administrator"),
    }
}

fn role_schema() -> Schema {
    choice(&["administrator", "agent"])
}

fn availability_schema() -> Schema {
    choice(&["online", "busy", "offline"])
}

/// The name of an availability.
pub fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Online => "online",
        Availability::Busy => "busy",
        Availability::Offline | Availability::Unspecified => "offline",
    }
}

/// A user as a member of an account.
pub fn agent(agent: &pb::Agent) -> Json {
    let mut json = json!({
        "id": agent.id,
        "account_id": agent.account_id,
        "availability_status": availability(agent.availability_status()),
        "auto_offline": agent.auto_offline,
        "confirmed": true,
        "email": agent.email,
        "provider": "email",
        "available_name": agent.available_name,
        "name": agent.name,
        "role": role(agent.role()),
        "thumbnail": agent.avatar_url,
    });
    with_custom_attributes(&mut json, agent.custom_attributes.as_ref(), &agent.truncated_fields);
    json
}

/// The schema of [`agent`].
pub fn schema() -> Schema {
    truncated::marked(schema::object())
        .key("id", id())
        .key("account_id", id())
        .key("availability_status", availability_schema())
        .keys(&["auto_offline", "confirmed"], &flag())
        .keys(&["email", "provider", "available_name", "name", "thumbnail"], &text())
        .key("role", role_schema().or_null())
        .optional("custom_attributes", attributes())
        .named("Agent")
}

/// Adds `custom_attributes` and `truncated_fields`. Without attributes the key is omitted, unless they were truncated: then it is an empty
/// object.
pub fn with_custom_attributes(json: &mut Json, attributes: Option<&prost_types::Struct>, missing: &[String]) {
    let attributes = attributes.filter(|attributes| !attributes.fields.is_empty());
    if attributes.is_some() || missing.iter().any(|field| field == "custom_attributes") {
        json["custom_attributes"] = object(attributes);
    }
    truncated::mark(json, missing);
}

/// A user in Chatwoot's event format, as in `meta.assignee` of a list of messages.
pub fn user_event(agent: &pb::Agent) -> Json {
    let mut json = json!({
        "id": agent.id,
        "name": agent.name,
        "available_name": agent.available_name,
        "avatar_url": agent.avatar_url,
        "type": "user",
        "availability_status": availability(agent.availability_status()),
        "thumbnail": agent.avatar_url,
    });
    truncated::mark(&mut json, &agent.truncated_fields);
    json
}

/// The schema of [`user_event`].
pub fn user_event_schema() -> Schema {
    truncated::marked(schema::object())
        .key("id", id())
        .keys(&["name", "available_name", "avatar_url", "thumbnail"], &text())
        .key("type", only("user"))
        .key("availability_status", availability_schema())
        .named("UserEvent")
}

/// The profile of a user. `token` is the caller's own token: only hashes of tokens are stored.
pub fn profile(profile: &pb::GetProfileResponse, token: &str) -> Json {
    let user = profile.user.clone().unwrap_or_default();
    let display_name = user.display_name.as_deref().filter(|name| !name.trim().is_empty());
    let last = profile.memberships.first();
    let mut json = json!({
        "access_token": token,
        "account_id": last.map(|last| last.account_id),
        "available_name": display_name.unwrap_or(&user.name),
        "avatar_url": user.avatar_url,
        "confirmed": true,
        "display_name": user.display_name,
        "message_signature": user.message_signature,
        "email": user.email,
        "id": user.id,
        "inviter_id": last.and_then(|last| last.inviter_id),
        "name": user.name,
        "provider": "email",
        "pubsub_token": profile.pubsub_token,
        "role": last.map_or(Json::Null, |last| role(last.role())),
        "ui_settings": object(user.ui_settings.as_ref()),
        "uid": user.email,
        "type": null,
        "accounts": profile.memberships.iter().map(membership).collect::<Vec<_>>(),
    });
    with_custom_attributes(&mut json, user.custom_attributes.as_ref(), &user.truncated_fields);
    json
}

/// The schema of [`profile`].
pub fn profile_schema() -> Schema {
    let membership = schema::object()
        .key("id", id())
        .key("name", text())
        .key("status", choice(&["active", "suspended"]))
        .key("active_at", iso().or_null())
        .key("role", role_schema().or_null())
        .key("permissions", list(role_schema().or_null()))
        .keys(&["availability", "availability_status"], &availability_schema())
        .key("auto_offline", flag())
        .named("Membership");
    truncated::marked(schema::object())
        .keys(
            &[
                "access_token",
                "available_name",
                "avatar_url",
                "email",
                "name",
                "provider",
                "pubsub_token",
                "uid",
            ],
            &text(),
        )
        .keys(&["account_id", "inviter_id"], &integer().or_null())
        .keys(&["display_name", "message_signature"], &text().or_null())
        .key("confirmed", flag())
        .key("id", id())
        .key("role", role_schema().or_null())
        .key("ui_settings", attributes())
        .key("type", null())
        .key("accounts", list(membership))
        .optional("custom_attributes", attributes())
        .named("Profile")
}

fn membership(membership: &pb::Membership) -> Json {
    let account = membership.account.clone().unwrap_or_default();
    let status = match account.status() {
        pb::AccountStatus::Suspended | pb::AccountStatus::Deleted => "suspended",
        pb::AccountStatus::Active | pb::AccountStatus::Unspecified => "active",
    };
    json!({
        "id": membership.account_id,
        "name": account.name,
        "status": status,
        "active_at": crate::params::timestamps::iso(membership.active_at.as_ref()),
        "role": role(membership.role()),
        "permissions": [role(membership.role())],
        "availability": availability(membership.availability()),
        "availability_status": availability(membership.availability_status()),
        "auto_offline": membership.auto_offline,
    })
}

/// The keys of a JSON object.
#[cfg(test)]
pub fn keys(json: &Json) -> Vec<&str> {
    json.as_object()
        .map(serde_json::Map::keys)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_echoes_the_token() {
        let profile = profile(
            &pb::GetProfileResponse {
                user: Some(pb::User {
                    id: 12,
                    name: "Mina Okafor".to_owned(),
                    email: "mina@example.org".to_owned(),
                    ..Default::default()
                }),
                memberships: vec![pb::Membership {
                    account_id: 3,
                    role: Role::Administrator.into(),
                    availability: Availability::Online.into(),
                    auto_offline: true,
                    ..Default::default()
                }],
                pubsub_token: "p".to_owned(),
            },
            "secret",
        );
        assert_eq!(profile["access_token"], "secret");
        assert_eq!(profile["available_name"], "Mina Okafor");
        assert_eq!((&profile["account_id"], &profile["role"]), (&json!(3), &json!("administrator")));
        assert_eq!(profile["accounts"][0]["permissions"], json!(["administrator"]));
        assert_eq!(profile["accounts"][0]["availability_status"], "offline");
        assert_eq!(profile["accounts"][0]["active_at"], Json::Null);
        assert!(!keys(&profile).contains(&"custom_attributes"));
    }

    #[test]
    fn an_agent_without_attributes_has_no_key_for_them() {
        let json = agent(&pb::Agent {
            id: 12,
            availability_status: Availability::Busy.into(),
            ..Default::default()
        });
        assert_eq!(json["availability_status"], "busy");
        assert_eq!(json["role"], Json::Null);
        assert!(!keys(&json).contains(&"custom_attributes"));
    }
}
