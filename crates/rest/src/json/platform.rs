//! The JSON of the platform API, for the operator. Tokens are returned only when they are created and are null afterwards: only their
//! hashes are stored.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use super::{
    agent::{availability, role, with_custom_attributes},
    truncated,
};
use crate::{
    openapi::schema::{self, Schema, attributes, choice, flag, id, list, null, text},
    params::{attributes::object, timestamps::iso},
};

/// An account.
pub fn account(account: &pb::Account) -> Json {
    let status = match account.status() {
        pb::AccountStatus::Suspended | pb::AccountStatus::Deleted => "suspended",
        pb::AccountStatus::Active | pb::AccountStatus::Unspecified => "active",
    };
    let mut json = json!({
        "id": account.id,
        "name": account.name,
        "locale": account.locale,
        "domain": account.domain,
        "support_email": account.support_email,
        "features": object(account.features.as_ref()),
        "custom_attributes": object(account.custom_attributes.as_ref()),
        "limits": object(account.limits.as_ref()),
        "status": status,
    });
    truncated::mark(&mut json, &account.truncated_fields);
    json
}

/// The schema of [`account`].
pub fn account_schema() -> Schema {
    truncated::marked(schema::object())
        .key("id", id())
        .keys(&["name", "locale"], &text())
        .keys(&["domain", "support_email"], &text().or_null())
        .keys(&["features", "custom_attributes", "limits"], &attributes())
        .key("status", choice(&["active", "suspended"]))
        .named("PlatformAccount")
}

/// A user with its memberships.
pub fn user(user: &pb::User, memberships: &[pb::Membership], token: Option<&str>) -> Json {
    let display_name = user.display_name.as_deref().filter(|name| !name.trim().is_empty());
    let last = memberships.first();
    let of = |membership: &pb::Membership| {
        json!({
            "id": membership.account_id,
            "name": membership.account.as_ref().map(|account| &account.name),
            "active_at": iso(membership.active_at.as_ref()),
            "role": role(membership.role()),
        })
    };
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
        "name": user.name,
        "provider": "email",
        "pubsub_token": null,
        "role": last.map_or(Json::Null, |last| role(last.role())),
        "ui_settings": object(user.ui_settings.as_ref()),
        "uid": user.email,
        "accounts": memberships.iter().map(of).collect::<Vec<_>>(),
    });
    with_custom_attributes(&mut json, user.custom_attributes.as_ref(), &user.truncated_fields);
    json
}

/// The schema of [`user`].
pub fn user_schema() -> Schema {
    let role = choice(&["agent", "administrator"]);
    let membership = schema::object()
        .key("id", id())
        .key("name", text().or_null())
        .key("active_at", schema::iso().or_null())
        .key("role", role.clone());
    truncated::marked(schema::object())
        .key(
            "access_token",
            text().or_null().note("Shown where the user is made; null afterwards."),
        )
        .key("account_id", id().or_null())
        .keys(&["available_name", "avatar_url", "email", "name", "provider", "uid"], &text())
        .key("confirmed", flag())
        .keys(&["display_name", "message_signature", "pubsub_token"], &text().or_null())
        .key("id", id())
        .key("role", role.or_null())
        .key("ui_settings", attributes())
        .key("accounts", list(membership))
        .optional("custom_attributes", attributes())
        .named("PlatformUser")
}

/// A membership. Memberships have no id, so `id` is that of the user.
pub fn member(agent: &pb::Agent) -> Json {
    json!({
        "id": agent.id,
        "account_id": agent.account_id,
        "user_id": agent.id,
        "role": role(agent.role()),
        "inviter_id": null,
        "created_at": null,
        "updated_at": null,
        "active_at": null,
        "availability": availability(agent.availability()),
        "auto_offline": agent.auto_offline,
        "custom_role_id": null,
    })
}

/// The schema of [`member`].
pub fn member_schema() -> Schema {
    schema::object()
        .keys(&["id", "account_id", "user_id"], &id())
        .key("role", choice(&["agent", "administrator"]))
        .keys(&["inviter_id", "created_at", "updated_at", "active_at", "custom_role_id"], &null())
        .key("availability", choice(&["online", "offline", "busy"]))
        .key("auto_offline", flag())
        .named("AccountUser")
}

/// An agent bot.
pub fn agent_bot(bot: &pb::AgentBot, token: Option<&str>) -> Json {
    json!({
        "id": bot.id,
        "name": bot.name,
        "description": bot.description,
        "outgoing_url": bot.outgoing_url,
        "account_id": bot.account_id,
        "access_token": token,
    })
}

/// The schema of [`agent_bot`].
pub fn agent_bot_schema() -> Schema {
    schema::object()
        .key("id", id())
        .key("name", text())
        .keys(&["description", "outgoing_url"], &text().or_null())
        .key("account_id", id().or_null())
        .key(
            "access_token",
            text().or_null().note("Shown where the bot is made; null afterwards."),
        )
        .named("AgentBot")
}
