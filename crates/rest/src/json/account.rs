//! The JSON of an account for its members, and of its lists' cache keys.

use parley_proto::{self as pb, AccountStatus};
use prost_types::{Value, value::Kind};

use super::{
    agent::account_status,
    json_type::json_type,
    values::{Id, Name},
};
use crate::params::{attributes::Attributes, timestamps::Iso};

/// The attribute that names the current onboarding step. Dashboards show their onboarding pages while it names one. Parley has no
/// onboarding, so it is `"true"` unless the operator has set it.
const ONBOARDING_STEP: &str = "onboarding_step";

/// The operator's custom attributes that members see, as in Chatwoot, whose dashboards read these keys. All others are hidden from the
/// tenant.
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
        /// Language code.
        locale: String = account.locale,
        /// Domain of the account.
        domain: Option<String> = account.domain,
        /// E-mail address for support.
        support_email: Option<String> = account.support_email,
        /// Whether the account is active.
        status: Name<AccountStatus> = status,
        /// When the account was created.
        created_at: Iso = account.created_at.into(),
        /// Feature flags by their names.
        features: Attributes = account.features.into(),
        /// Always empty.
        settings: Attributes = Attributes::default(),
        custom_attributes: Attributes = Some(custom_attributes).into(),
        /// Always null.
        auto_resolve_duration: () = (),
        /// Always null.
        latest_chatwoot_version: () = (),
        cache_keys: CacheKeys = keys.into(),
    }
    truncated_fields = account.truncated_fields;
}

json_type! {
    /// Keys that change when a list does and only then, as the caller sees it.
    pub struct CacheKeys(keys: pb::CacheKeys) {
        /// Key of the list of labels.
        label: String = keys.label,
        /// Key of the list of inboxes.
        inbox: String = keys.inbox,
        /// Key of the list of teams.
        team: String = keys.team,
    }
}
