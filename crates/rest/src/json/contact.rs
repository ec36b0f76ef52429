//! The JSON representation of contacts and their sessions.

use parley_proto as pb;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    inbox::{SessionInbox, SlimInbox},
    json_type::json_type,
    values::{Id, constant},
};
use crate::params::{attributes::Attributes, timestamps::Unix};

json_type! {
    // Fields that all representations of a contact have in common.
    #[schemars(inline)]
    struct Person(contact: pb::Contact) {
        additional_attributes: Attributes = contact.additional_attributes.into(),
        blocked: bool = contact.blocked,
        custom_attributes: Attributes = contact.custom_attributes.into(),
        email: Option<String> = contact.email,
        id: Id = contact.id.into(),
        /// Id of the contact in another system, unique in the account.
        identifier: Option<String> = contact.identifier,
        name: String = contact.name,
        phone_number: Option<String> = contact.phone_number,
        thumbnail: String = contact.avatar_url,
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Presence {
    Online,
    Offline,
}

json_type! {
    /// A contact: a customer of the account.
    pub struct Contact(mut contact: pb::Contact) with {
        let truncated_fields = std::mem::take(&mut contact.truncated_fields);
    } {
        availability_status: Presence = if contact.is_online { Presence::Online } else { Presence::Offline },
        created_at: Unix = contact.created_at.into(),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        last_activity_at: Option<Unix> = contact.last_activity_at.map(|at| Some(at).into()),
        #[serde(flatten)]
        person: Person = contact.into(),
    }
    truncated_fields = truncated_fields;
}

json_type! {
    /// A contact with its sessions.
    pub struct ContactWithSessions(mut contact: pb::Contact) with {
        let truncated_fields = std::mem::take(&mut contact.truncated_fields);
    } {
        contact_inboxes: Vec<ContactSession> = std::mem::take(&mut contact.contact_inboxes).into_iter().map(ContactSession::from).collect(),
        #[serde(flatten)]
        contact: Contact = contact.into(),
    }
    truncated_fields = truncated_fields;
}

// A contact. Its sessions are included unless the client asked to omit them.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum ListedContact {
    WithSessions(Box<ContactWithSessions>),
    Alone(Box<Contact>),
}

impl ListedContact {
    /// Converts a contact to JSON, with or without its sessions.
    pub fn new(contact: pb::Contact, with_sessions: bool) -> Self {
        if with_sessions {
            Self::WithSessions(Box::new(contact.into()))
        } else {
            Self::Alone(Box::new(contact.into()))
        }
    }
}

json_type! {
    /// A session of a contact in an inbox, as part of the contact.
    struct ContactSession(session: pb::ContactInbox) {
        /// Source id of the session, unique in the inbox.
        source_id: String = session.source_id,
        inbox: Option<SessionInbox> = session.inbox.map(SessionInbox::from),
        hmac_verified: bool = session.hmac_verified,
        /// Id of another contact whose e-mail address, phone number or identifier the session submitted.
        possible_duplicate_contact_id: Option<Id> = session.possible_duplicate_contact_id.map(Id),
    }
}

json_type! {
    /// A session of a contact in an inbox, returned without the contact.
    pub struct LoneContactSession(session: pb::ContactInbox) {
        /// Source id of the session, unique in the inbox.
        source_id: String = session.source_id,
        inbox: Option<SlimInbox> = session.inbox.map(SlimInbox::from),
    }
}

json_type! {
    /// An inbox through which a contact can be reached.
    pub struct ContactableInbox(inbox: pb::ContactableInbox) {
        /// Source id of the contact's session in the inbox, or a new random id that is not stored.
        source_id: String = inbox.source_id,
        inbox: Option<SlimInbox> = inbox.inbox.map(SlimInbox::from),
    }
}

constant!(ContactType, "contact");

json_type! {
    /// A contact, as the sender of a message or in an event.
    pub struct ContactEvent(mut contact: pb::Contact) with {
        let truncated_fields = std::mem::take(&mut contact.truncated_fields);
    } {
        #[serde(flatten)]
        person: Person = contact.into(),
        r#type: ContactType = ContactType,
    }
    truncated_fields = truncated_fields;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::test_json::{keys, to_json};

    #[test]
    fn absent_values_are_omitted_null_or_empty() {
        let json = to_json(&ContactWithSessions::from(pb::Contact {
            id: 41,
            created_at: Some(prost_types::Timestamp {
                seconds: 1_930_000_000,
                nanos: 5,
            }),
            contact_inboxes: vec![pb::ContactInbox {
                source_id: "s".to_owned(),
                inbox: Some(pb::InboxSummary {
                    id: 9,
                    channel_id: 5,
                    name: "Store API".to_owned(),
                    enable_auto_assignment: true,
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        }));
        assert_eq!(
            json,
            json!({
                "additional_attributes": {}, "availability_status": "offline", "email": null, "id": 41, "name": "", "phone_number": null,
                "blocked": false, "identifier": null, "thumbnail": "", "custom_attributes": {}, "created_at": 1_930_000_000,
                "contact_inboxes": [{"source_id": "s", "inbox": {
                    "id": 9, "avatar_url": "", "channel_id": 5, "name": "Store API", "channel_type": "Channel::Api", "provider": null,
                    "website_url": null, "widget_color": null, "website_token": null, "enable_auto_assignment": true,
                    "web_widget_script": null, "welcome_title": null, "welcome_tagline": null, "greeting_enabled": false,
                    "greeting_message": null,
                }, "hmac_verified": false, "possible_duplicate_contact_id": null}],
            })
        );
    }

    #[test]
    fn last_activity_is_omitted_when_absent() {
        let active = pb::Contact {
            last_activity_at: Some(prost_types::Timestamp {
                seconds: 1_931_000_000,
                nanos: 0,
            }),
            ..Default::default()
        };
        let json = to_json(&Contact::from(active.clone()));
        assert_eq!(json["last_activity_at"], 1_931_000_000);
        assert!(!keys(&json).contains(&"contact_inboxes"));
        assert_eq!(to_json(&ContactEvent::from(active))["type"], "contact");
    }
}
