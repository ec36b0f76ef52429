//! The JSON of contacts and their sessions.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use super::{inbox, truncated};
use crate::{
    openapi::schema::{self, Schema, attributes, choice, flag, id, list, only, text},
    params::{attributes::object, timestamps::unix},
};

/// A contact without its sessions.
pub fn contact(contact: &pb::Contact) -> Json {
    let mut json = json!({
        "additional_attributes": object(contact.additional_attributes.as_ref()),
        "availability_status": if contact.is_online { "online" } else { "offline" },
        "email": contact.email,
        "id": contact.id,
        "name": contact.name,
        "phone_number": contact.phone_number,
        "blocked": contact.blocked,
        "identifier": contact.identifier,
        "thumbnail": contact.avatar_url,
        "custom_attributes": object(contact.custom_attributes.as_ref()),
        "created_at": unix(contact.created_at.as_ref()),
    });
    if let Some(at) = &contact.last_activity_at {
        json["last_activity_at"] = json!(at.seconds);
    }
    truncated::mark(&mut json, &contact.truncated_fields);
    json
}

/// The schema of [`contact`].
pub fn schema() -> Schema {
    truncated::marked(schema::object())
        .keys(&["additional_attributes", "custom_attributes"], &attributes())
        .key("availability_status", choice(&["online", "offline"]))
        .keys(&["email", "phone_number", "identifier"], &text().or_null())
        .key("id", id())
        .keys(&["name", "thumbnail"], &text())
        .key("blocked", flag())
        .key("created_at", schema::unix())
        .optional("last_activity_at", schema::unix())
        .named("Contact")
}

/// A contact with its sessions.
pub fn with_sessions(contact: &pb::Contact) -> Json {
    let mut json = self::contact(contact);
    json["contact_inboxes"] = contact.contact_inboxes.iter().map(session).collect();
    truncated::mark(&mut json, &contact.truncated_fields);
    json
}

/// The schema of [`with_sessions`].
pub fn with_sessions_schema() -> Schema {
    let session = schema::object()
        .key("source_id", text())
        .key("inbox", inbox::of_session_schema().or_null())
        .key("hmac_verified", flag())
        .key(
            "possible_duplicate_contact_id",
            id().or_null()
                .note("Another contact with an address, number or identifier that the session submitted."),
        )
        .named("ContactSession");
    schema().key("contact_inboxes", list(session)).named("ContactWithSessions")
}

/// A session in the list of its contact.
fn session(session: &pb::ContactInbox) -> Json {
    json!({
        "source_id": session.source_id,
        "inbox": session.inbox.as_ref().map(inbox::of_session),
        "hmac_verified": session.hmac_verified,
        "possible_duplicate_contact_id": session.possible_duplicate_contact_id,
    })
}

/// A session on its own.
pub fn lone_session(session: &pb::ContactInbox) -> Json {
    json!({ "source_id": session.source_id, "inbox": session.inbox.as_ref().map(inbox::slim) })
}

/// The schema of [`lone_session`].
pub fn lone_session_schema() -> Schema {
    schema::object()
        .key("source_id", text())
        .key("inbox", inbox::slim_schema().or_null())
        .named("LoneContactSession")
}

/// An inbox through which a contact can be reached.
pub fn contactable(inbox: &pb::ContactableInbox) -> Json {
    json!({ "source_id": inbox.source_id, "inbox": inbox.inbox.as_ref().map(inbox::slim) })
}

/// The schema of [`contactable`].
pub fn contactable_schema() -> Schema {
    schema::object()
        .key("source_id", text())
        .key("inbox", inbox::slim_schema().or_null())
        .named("ContactableInbox")
}

/// A contact in Chatwoot's event format, as the sender of a message.
pub fn contact_event(contact: &pb::Contact) -> Json {
    let mut json = json!({
        "additional_attributes": object(contact.additional_attributes.as_ref()),
        "custom_attributes": object(contact.custom_attributes.as_ref()),
        "email": contact.email,
        "id": contact.id,
        "identifier": contact.identifier,
        "name": contact.name,
        "phone_number": contact.phone_number,
        "thumbnail": contact.avatar_url,
        "blocked": contact.blocked,
        "type": "contact",
    });
    truncated::mark(&mut json, &contact.truncated_fields);
    json
}

/// The schema of [`contact_event`].
pub fn contact_event_schema() -> Schema {
    truncated::marked(schema::object())
        .keys(&["additional_attributes", "custom_attributes"], &attributes())
        .keys(&["email", "identifier", "phone_number"], &text().or_null())
        .key("id", id())
        .keys(&["name", "thumbnail"], &text())
        .key("blocked", flag())
        .key("type", only("contact"))
        .named("ContactEvent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::agent::keys;

    #[test]
    fn what_is_absent_is_omitted_null_or_empty() {
        let json = with_sessions(&pb::Contact {
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
        });
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
    fn activity_is_told_once_there_was_some() {
        let active = pb::Contact {
            last_activity_at: Some(prost_types::Timestamp {
                seconds: 1_931_000_000,
                nanos: 0,
            }),
            ..Default::default()
        };
        assert_eq!(contact(&active)["last_activity_at"], 1_931_000_000);
        assert!(!keys(&contact(&active)).contains(&"contact_inboxes"));
        assert_eq!(contact_event(&active)["type"], "contact");
    }
}
