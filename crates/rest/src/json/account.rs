//! The JSON representation of an account as its members see it, and of the cache keys for the account's lists.

use parley_proto::{self as pb, AccountStatus};
use prost_types::{Value, value::Kind};

use super::{
    agent::account_status,
    json_type::json_type,
    values::{Id, Name},
};
use crate::params::{attributes::Attributes, timestamps::Iso};

/// The custom attribute that names the current onboarding step. Chatwoot dashboards show their onboarding pages while it names a step.
/// Parley has no onboarding, so the value is `"true"`, which names no step, unless the operator has set another value.
const ONBOARDING_STEP: &str = "onboarding_step";

/// The custom attributes of an account that its members can see. They are set by the operator, and Chatwoot dashboards read these keys. All
/// other custom attributes are hidden from the tenant.
const SHOWN: [&str; 6] = [ONBOARDING_STEP, "company_size", "industry", "logo", "plan_name", "timezone"];

json_type! {
    /// The account as its members see it.
    pub struct Account(account: pb::Account, keys: pb::CacheKeys) with {
        let status = account_status(&account);
        let mut custom_attributes = account.custom_attributes.unwrap_or_default();
        custom_attributes.fields.retain(|key, _| SHOWN.contains(&key.as_str()));
        custom_attributes.fields.entry(ONBOARDING_STEP.to_owned()).or_insert_with(|| Value {
            kind: Some(Kind::StringValue("true".to_owned())),
        });
    } {
        /// Id of the account.
        id: Id = account.id.into(),
        name: String = account.name,
        /// Language code of the account.
        locale: String = account.locale,
        /// Domain of the account.
        domain: Option<String> = account.domain,
        /// E-mail address for support.
        support_email: Option<String> = account.support_email,
        /// Whether the account is active.
        status: Name<AccountStatus> = status,
        /// When the account was created, in ISO 8601.
        created_at: Iso = account.created_at.into(),
        /// Feature flags of the account by name.
        features: Attributes = account.features.into(),
        /// Always empty; the key exists for compatibility with Chatwoot.
        settings: Attributes = Attributes::default(),
        custom_attributes: Attributes = Some(custom_attributes).into(),
        /// Always null; the key exists for compatibility with Chatwoot.
        auto_resolve_duration: () = (),
        /// Always null; the key exists for compatibility with Chatwoot.
        latest_chatwoot_version: () = (),
        cache_keys: CacheKeys = keys.into(),
    }
    truncated_fields = account.truncated_fields;
}

json_type! {
    /// Cache keys for the account's lists, as the caller sees them. A key changes if and only if its list changes.
    pub struct CacheKeys(keys: pb::CacheKeys) {
        /// Cache key for the list of labels.
        label: String = keys.label,
        /// Cache key for the list of inboxes.
        inbox: String = keys.inbox,
        /// Cache key for the list of teams.
        team: String = keys.team,
    }
}
