//! The JSON representation of users, as members of an account and as senders.

use parley_proto::{self as pb, AccountStatus, Availability, Role};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    json_type::json_type,
    truncated::TruncatedFields,
    values::{Id, Name, Named, constant},
};
use crate::params::{attributes::Attributes, timestamps::Iso};

impl Named for Role {
    const NAMES: &'static [(&'static str, Self)] = &[("agent", Self::Agent), ("administrator", Self::Administrator)];
}

impl Named for Availability {
    const NAMES: &'static [(&'static str, Self)] = &[("offline", Self::Offline), ("online", Self::Online), ("busy", Self::Busy)];
}

impl Named for AccountStatus {
    const NAMES: &'static [(&'static str, Self)] = &[("active", Self::Active), ("suspended", Self::Suspended)];
}

/// Returns whether an account is active or suspended. An account that is being deleted counts as suspended until it is removed.
pub fn account_status(account: &pb::Account) -> Name<AccountStatus> {
    Name(match account.status() {
        AccountStatus::Deleted => AccountStatus::Suspended,
        status => status,
    })
}

json_type! {
    /// A member of an account.
    pub struct Agent(agent: pb::Agent) {
        /// Id of the user.
        id: Id = agent.id.into(),
        account_id: Id = agent.account_id.into(),
        availability_status: Name<Availability> = Name(agent.availability_status()),
        auto_offline: bool = agent.auto_offline,
        confirmed: bool = true,
        provider: &'static str = "email",
        role: Option<Name<Role>> = Name::known(agent.role()),
        email: String = agent.email,
        available_name: String = agent.available_name,
        name: String = agent.name,
        thumbnail: String = agent.avatar_url,
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        custom_attributes: Option<Attributes> = shown_attributes(agent.custom_attributes, &agent.truncated_fields),
    }
    truncated_fields = agent.truncated_fields;
}

/// Returns the value of the `custom_attributes` key, or `None` if the user has no custom attributes, in which case the key is omitted. If
/// the attributes were truncated, the value is an empty object.
pub fn shown_attributes(attributes: Option<prost_types::Struct>, truncated_fields: &[String]) -> Option<Attributes> {
    let attributes = Attributes(attributes);
    let is_shown = !attributes.is_empty() || truncated_fields.iter().any(|field| field == "custom_attributes");
    is_shown.then_some(attributes)
}

constant!(UserType, "user");

/// A user, as the sender of a message or in an event.
#[derive(Serialize, JsonSchema)]
pub struct UserEvent {
    pub id: Id,
    pub name: String,
    pub available_name: String,
    pub avatar_url: String,
    r#type: UserType,
    // Null only in messages that contacts read, because availability is not disclosed to contacts.
    #[schemars(required)]
    pub availability_status: Option<Name<Availability>>,
    thumbnail: String,
    #[serde(skip_serializing_if = "TruncatedFields::is_empty")]
    truncated_fields: TruncatedFields,
}

impl UserEvent {
    /// Creates a user from the values that an event or a message stores about it.
    pub fn new(id: i64, name: String, available_name: String, avatar_url: String, availability: Option<Availability>) -> Self {
        Self {
            id: id.into(),
            name,
            available_name,
            thumbnail: avatar_url.clone(),
            avatar_url,
            r#type: UserType,
            availability_status: availability.map(Name),
            truncated_fields: TruncatedFields::default(),
        }
    }
}

impl From<pb::Agent> for UserEvent {
    fn from(agent: pb::Agent) -> Self {
        let availability = Some(agent.availability_status());
        let mut json = Self::new(agent.id, agent.name, agent.available_name, agent.avatar_url, availability);
        json.truncated_fields = TruncatedFields::of(&json, &agent.truncated_fields);
        json
    }
}

json_type! {
    // Fields that the profile and the platform API's user object have in common.
    #[schemars(inline)]
    pub(super) struct UserFields(user: pb::User) with {
        let display_name = user.display_name.as_deref().filter(|name| !name.trim().is_empty());
    } {
        available_name: String = display_name.unwrap_or(&user.name).to_owned(),
        avatar_url: String = user.avatar_url,
        confirmed: bool = true,
        display_name: Option<String> = user.display_name,
        message_signature: Option<String> = user.message_signature,
        uid: String = user.email.clone(),
        email: String = user.email,
        id: Id = user.id.into(),
        name: String = user.name,
        provider: &'static str = "email",
        ui_settings: Attributes = user.ui_settings.into(),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        custom_attributes: Option<Attributes> = shown_attributes(user.custom_attributes, &user.truncated_fields),
    }
    truncated_fields = user.truncated_fields;
}

json_type! {
    /// The profile of the user whose token authenticates the request.
    pub struct Profile(profile: pb::GetProfileResponse, access_token: String) with {
        let last = profile.memberships.first();
    } {
        /// The token with which the request was made.
        access_token: String = access_token,
        /// Id of the account in which the user was last present.
        account_id: Option<i64> = last.map(|last| last.account_id),
        /// Always null; the key exists for compatibility with Chatwoot.
        inviter_id: Option<i64> = last.and_then(|last| last.inviter_id),
        /// Credential for subscriptions on `/cable`. It belongs to the token with which the request was made.
        pubsub_token: String = profile.pubsub_token,
        role: Option<Name<Role>> = last.and_then(|last| Name::known(last.role())),
        /// Always null; the key exists for compatibility with Chatwoot.
        r#type: () = (),
        /// Accounts of which the user is a member.
        accounts: Vec<Membership> = profile.memberships.into_iter().map(Membership::from).collect(),
        #[serde(flatten)]
        user: UserFields = profile.user.unwrap_or_default().into(),
    }
}

json_type! {
    /// An account of which the user is a member, with the user's role in it.
    struct Membership(membership: pb::Membership) with {
        let role = Name::known(membership.role());
        let (availability, availability_status) = (membership.availability(), membership.availability_status());
        let account = membership.account.unwrap_or_default();
    } {
        /// Id of the account.
        id: Id = membership.account_id.into(),
        /// Whether the account is active.
        status: Name<AccountStatus> = account_status(&account),
        /// Name of the account.
        name: String = account.name,
        active_at: Option<Iso> = Iso::optional(membership.active_at),
        role: Option<Name<Role>> = role,
        /// The user's role in the account, as a list with one element.
        permissions: Vec<Option<Name<Role>>> = vec![role],
        availability: Name<Availability> = Name(availability),
        availability_status: Name<Availability> = Name(availability_status),
        auto_offline: bool = membership.auto_offline,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::json::test_json::{keys, to_json};

    #[test]
    fn profile_returns_the_callers_token() {
        let profile = to_json(&Profile::new(
            pb::GetProfileResponse {
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
            "secret".to_owned(),
        ));
        assert_eq!(profile["access_token"], "secret");
        assert_eq!(profile["available_name"], "Mina Okafor");
        assert_eq!((&profile["account_id"], &profile["role"]), (&json!(3), &json!("administrator")));
        assert_eq!(profile["accounts"][0]["permissions"], json!(["administrator"]));
        assert_eq!(profile["accounts"][0]["availability_status"], "offline");
        assert_eq!(profile["accounts"][0]["active_at"], Json::Null);
        assert!(!keys(&profile).contains(&"custom_attributes"));
    }

    #[test]
    fn agent_without_attributes_omits_the_key() {
        let json = to_json(&Agent::from(pb::Agent {
            id: 12,
            availability_status: Availability::Busy.into(),
            ..Default::default()
        }));
        assert_eq!(json["availability_status"], "busy");
        assert_eq!(json["role"], Json::Null);
        assert!(!keys(&json).contains(&"custom_attributes"));
    }
}
