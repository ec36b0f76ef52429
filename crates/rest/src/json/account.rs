//! The JSON of an account for its members, and of its lists' cache keys.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use super::truncated;
use crate::{
    openapi::schema::{self, Schema, attributes, choice, id, null, text},
    params::{attributes::object, timestamps::iso},
};

/// The attribute that names the current onboarding step. Dashboards show their onboarding pages while it names one. Parley has no
/// onboarding, so it is `"true"` unless the operator has set it.
const ONBOARDING_STEP: &str = "onboarding_step";

/// The operator's custom attributes that members see, as in Chatwoot, whose dashboards read these keys. All others are hidden from the
/// tenant.
const SHOWN: [&str; 6] = [ONBOARDING_STEP, "company_size", "industry", "logo", "plan_name", "timezone"];

/// An account, with the cache keys of the caller.
pub fn account(account: &pb::Account, keys: &pb::CacheKeys) -> Json {
    let status = match account.status() {
        pb::AccountStatus::Suspended | pb::AccountStatus::Deleted => "suspended",
        pb::AccountStatus::Active | pb::AccountStatus::Unspecified => "active",
    };
    let mut custom_attributes = object(account.custom_attributes.as_ref());
    if let Json::Object(notes) = &mut custom_attributes {
        notes.retain(|key, _| SHOWN.contains(&key.as_str()));
    }
    if custom_attributes.get(ONBOARDING_STEP).is_none() {
        custom_attributes[ONBOARDING_STEP] = json!("true");
    }
    let mut json = json!({
        "id": account.id,
        "name": account.name,
        "locale": account.locale,
        "domain": account.domain,
        "support_email": account.support_email,
        "status": status,
        "created_at": iso(account.created_at.as_ref()),
        "features": object(account.features.as_ref()),
        "settings": {},
        "custom_attributes": custom_attributes,
        "auto_resolve_duration": null,
        "latest_chatwoot_version": null,
        "cache_keys": cache_keys(keys),
    });
    truncated::mark(&mut json, &account.truncated_fields);
    json
}

/// The schema of [`account`].
pub fn schema() -> Schema {
    truncated::marked(schema::object())
        .key("id", id())
        .keys(&["name", "locale"], &text())
        .keys(&["domain", "support_email"], &text().or_null())
        .key("status", choice(&["active", "suspended"]))
        .key("created_at", schema::iso())
        .keys(&["features", "settings", "custom_attributes"], &attributes())
        .keys(&["auto_resolve_duration", "latest_chatwoot_version"], &null())
        .key("cache_keys", cache_keys_schema())
        .named("Account")
}

/// The cache keys.
pub fn cache_keys(keys: &pb::CacheKeys) -> Json {
    json!({ "label": keys.label, "inbox": keys.inbox, "team": keys.team })
}

/// The schema of [`cache_keys`].
pub fn cache_keys_schema() -> Schema {
    schema::object().keys(&["label", "inbox", "team"], &text()).named("CacheKeys")
}
