//! The JSON of the client API, as contacts see it: inboxes, sessions, conversations, messages and contact records.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use super::{conversation::STATUSES, message, truncated};
use crate::{
    openapi::schema::{self, Schema, attributes, choice, flag, id, integer, list, names, text},
    params::{
        attributes::object,
        timestamps::{iso, unix},
    },
};

/// An inbox.
pub fn inbox(inbox: &pb::ClientInbox) -> Json {
    json!({
        "identifier": inbox.identifier,
        "identity_validation_enabled": inbox.hmac_mandatory,
        "name": inbox.name,
        "timezone": inbox.timezone,
        "working_hours": inbox.working_hours.iter().map(day).collect::<Vec<_>>(),
        "working_hours_enabled": inbox.working_hours_enabled,
        "csat_survey_enabled": inbox.csat_survey_enabled,
        "greeting_enabled": inbox.greeting_enabled,
    })
}

/// The schema of [`inbox`].
pub fn inbox_schema() -> Schema {
    schema::object()
        .keys(&["identifier", "name", "timezone"], &text())
        .keys(
            &[
                "identity_validation_enabled",
                "working_hours_enabled",
                "csat_survey_enabled",
                "greeting_enabled",
            ],
            &flag(),
        )
        .key("working_hours", list(super::inbox::day_schema()))
        .named("ClientInbox")
}

fn day(day: &pb::WorkingHours) -> Json {
    json!({
        "day_of_week": day.day_of_week,
        "closed_all_day": day.closed_all_day,
        "open_hour": day.open_hour,
        "open_minutes": day.open_minutes,
        "close_hour": day.close_hour,
        "close_minutes": day.close_minutes,
        "open_all_day": day.open_all_day,
    })
}

/// A session with its contact.
pub fn session(session: &pb::ClientContact) -> Json {
    let contact = session.contact.clone().unwrap_or_default();
    json!({
        "source_id": session.source_id,
        "pubsub_token": session.pubsub_token,
        "id": contact.id,
        "name": contact.name,
        "email": contact.email,
        "phone_number": contact.phone_number,
    })
}

/// The schema of [`session`].
pub fn session_schema() -> Schema {
    schema::object()
        .key("source_id", text())
        .key("pubsub_token", text().note("The session's credential for `/cable`."))
        .key("id", id())
        .key("name", text())
        .keys(&["email", "phone_number"], &text().or_null())
        .named("ClientSession")
}

/// A contact record, with the columns of Chatwoot's table.
pub fn record(contact: &pb::Contact) -> Json {
    let additional = object(contact.additional_attributes.as_ref());
    let known = contact.email.is_some() || contact.phone_number.is_some();
    let mut json = json!({
        "id": contact.id,
        "name": contact.name,
        "email": contact.email,
        "phone_number": contact.phone_number,
        "account_id": contact.account_id,
        "created_at": iso(contact.created_at.as_ref()),
        "updated_at": iso(contact.updated_at.as_ref()),
        "location": additional.get("city"),
        "country_code": additional.get("country"),
        "additional_attributes": additional,
        "identifier": contact.identifier,
        "custom_attributes": object(contact.custom_attributes.as_ref()),
        "last_activity_at": iso(contact.last_activity_at.as_ref()),
        "contact_type": if known { "lead" } else { "visitor" },
        "middle_name": "",
        "last_name": "",
        "blocked": contact.blocked,
    });
    truncated::mark(&mut json, &contact.truncated_fields);
    json
}

/// The schema of [`record`].
pub fn record_schema() -> Schema {
    truncated::marked(schema::object())
        .keys(&["id", "account_id"], &id())
        .keys(&["name", "middle_name", "last_name"], &text())
        .keys(&["email", "phone_number", "identifier"], &text().or_null())
        .keys(&["created_at", "updated_at"], &schema::iso())
        .key("last_activity_at", schema::iso().or_null())
        .keys(&["location", "country_code"], &schema::any())
        .keys(&["additional_attributes", "custom_attributes"], &attributes())
        .key("contact_type", choice(&["lead", "visitor"]))
        .key("blocked", flag())
        .named("ContactRecord")
}

/// A conversation with its messages.
pub fn conversation(conversation: &pb::ClientConversation) -> Json {
    let mut json = json!({
        "id": conversation.id,
        "uuid": conversation.uuid,
        "inbox_id": conversation.inbox_id,
        "contact_last_seen_at": unix(conversation.contact_last_seen_at.as_ref()),
        "status": message::name(&STATUSES, &conversation.status()),
        "agent_last_seen_at": unix(conversation.agent_last_seen_at.as_ref()),
        "messages": conversation.messages.iter().map(message).collect::<Vec<_>>(),
        "contact": record(&conversation.contact.clone().unwrap_or_default()),
    });
    truncated::mark(&mut json, &conversation.truncated_fields);
    json
}

/// The schema of [`conversation`].
pub fn conversation_schema() -> Schema {
    truncated::marked(schema::object())
        .keys(&["id", "inbox_id"], &id())
        .key("uuid", text())
        .keys(&["contact_last_seen_at", "agent_last_seen_at"], &schema::unix())
        .key("status", names(&STATUSES))
        .key("messages", list(message_schema()))
        .key("contact", record_schema())
        .named("ClientConversation")
}

/// A message with the fields that a contact may see.
pub fn message(message: &pb::Message) -> Json {
    const SHOWN: [&str; 9] = [
        "id",
        "content",
        "message_type",
        "content_type",
        "content_attributes",
        "created_at",
        "conversation_id",
        "attachments",
        "sender",
    ];
    let mut json = message::message(message);
    if let Json::Object(map) = &mut json {
        map.retain(|key, _| SHOWN.contains(&key.as_str()));
    }
    truncated::mark(&mut json, &message.truncated_fields);
    // Do not disclose the availability of agents.
    if let Some(status) = json.get_mut("sender").and_then(|sender| sender.get_mut("availability_status")) {
        *status = Json::Null;
    }
    json
}

/// The schema of [`message()`].
pub fn message_schema() -> Schema {
    truncated::marked(schema::object())
        .key("id", id())
        .key("content", text().or_null())
        .key("message_type", integer().note("0 incoming, 1 outgoing, 3 template."))
        .key("content_type", names(&message::CONTENT_TYPES))
        .key("content_attributes", attributes())
        .key("created_at", schema::unix())
        .key("conversation_id", id())
        .optional("attachments", list(attributes()))
        .optional("sender", attributes())
        .named("ClientMessage")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::agent::keys;

    #[test]
    fn message_has_only_what_the_contact_may_see() {
        let json = message(&pb::Message {
            id: 9001,
            echo_id: Some("e".to_owned()),
            source_id: Some("s".to_owned()),
            sender: Some(pb::Sender {
                r#type: pb::SenderType::User.into(),
                ..Default::default()
            }),
            ..Default::default()
        });
        assert_eq!(json["sender"]["availability_status"], Json::Null);
        for hidden in ["status", "private", "source_id", "inbox_id", "echo_id", "attachments"] {
            assert!(!keys(&json).contains(&hidden), "{hidden}");
        }
    }

    #[test]
    fn record_copies_location() {
        let contact = pb::Contact {
            id: 314,
            additional_attributes: Some(crate::params::attributes::to_struct(
                json!({"city": "Pune", "country": "IN"}).as_object().unwrap(),
            )),
            ..Default::default()
        };
        let record = record(&contact);
        assert_eq!((&record["location"], &record["country_code"]), (&json!("Pune"), &json!("IN")));
        assert_eq!(
            (&record["contact_type"], &record["last_activity_at"]),
            (&json!("visitor"), &Json::Null)
        );
    }
}
