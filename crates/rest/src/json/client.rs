//! The JSON representation of the client API's resources, as contacts see them: inboxes, sessions, conversations, messages and contact
//! records.

use parley_proto::{self as pb, ContentType, ConversationStatus};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    attachment::{Attachment, attachments},
    inbox::Day,
    json_type::json_type,
    message::number,
    sender::Sender,
    values::{Id, Name},
};
use crate::params::{
    attributes::{Attribute, Attributes},
    timestamps::{Iso, Unix},
};

json_type! {
    /// An inbox as contacts see it.
    pub struct ClientInbox(inbox: pb::ClientInbox) {
        /// Public identifier of the inbox.
        identifier: String = inbox.identifier,
        /// Whether each session must prove its identifier with an HMAC signature.
        identity_validation_enabled: bool = inbox.hmac_mandatory,
        name: String = inbox.name,
        timezone: String = inbox.timezone,
        working_hours: Vec<Day> = inbox.working_hours.into_iter().map(Day::from).collect(),
        working_hours_enabled: bool = inbox.working_hours_enabled,
        csat_survey_enabled: bool = inbox.csat_survey_enabled,
        greeting_enabled: bool = inbox.greeting_enabled,
    }
}

json_type! {
    /// A session of a contact in an inbox, as the contact sees it.
    pub struct ClientSession(session: pb::ClientContact) with {
        let contact = session.contact.unwrap_or_default();
    } {
        /// Id of the session, which is its credential.
        source_id: String = session.source_id,
        /// Credential of the session for subscriptions on `/cable`.
        pubsub_token: String = session.pubsub_token,
        /// Id of the contact if the session is verified; otherwise a number that identifies only the session.
        id: Id = contact.id.into(),
        name: String = contact.name,
        email: Option<String> = contact.email,
        phone_number: Option<String> = contact.phone_number,
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum ContactKind {
    Lead,
    Visitor,
}

json_type! {
    /// The raw record of a contact, with times in ISO 8601.
    pub struct ContactRecord(contact: pb::Contact) with {
        let additional_attributes = Attributes(contact.additional_attributes);
        let is_lead = contact.email.is_some() || contact.phone_number.is_some();
    } {
        id: Id = contact.id.into(),
        name: String = contact.name,
        email: Option<String> = contact.email,
        phone_number: Option<String> = contact.phone_number,
        account_id: Id = contact.account_id.into(),
        created_at: Iso = contact.created_at.into(),
        updated_at: Iso = contact.updated_at.into(),
        /// City of the contact, from its additional attributes.
        #[schemars(with = "Attribute")]
        location: Option<Attribute> = additional_attributes.get("city"),
        /// Country of the contact, from its additional attributes.
        #[schemars(with = "Attribute")]
        country_code: Option<Attribute> = additional_attributes.get("country"),
        additional_attributes: Attributes = additional_attributes,
        identifier: Option<String> = contact.identifier,
        custom_attributes: Attributes = contact.custom_attributes.into(),
        last_activity_at: Option<Iso> = Iso::optional(contact.last_activity_at),
        /// `lead` if the contact has an e-mail address or phone number, otherwise `visitor`.
        contact_type: ContactKind = if is_lead { ContactKind::Lead } else { ContactKind::Visitor },
        middle_name: &'static str = "",
        last_name: &'static str = "",
        blocked: bool = contact.blocked,
    }
    truncated_fields = contact.truncated_fields;
}

json_type! {
    /// A conversation as its contact sees it in the client API.
    pub struct ClientConversation(conversation: pb::ClientConversation) {
        /// Number of the conversation in its account.
        id: Id = conversation.id.into(),
        status: Name<ConversationStatus> = Name(conversation.status()),
        uuid: String = conversation.uuid,
        inbox_id: Id = conversation.inbox_id.into(),
        contact_last_seen_at: Unix = conversation.contact_last_seen_at.into(),
        agent_last_seen_at: Unix = conversation.agent_last_seen_at.into(),
        messages: Vec<ClientMessage> = conversation.messages.into_iter().map(ClientMessage::from).collect(),
        contact: ContactRecord = conversation.contact.unwrap_or_default().into(),
    }
    truncated_fields = conversation.truncated_fields;
}

json_type! {
    /// A message as the contact in its conversation sees it.
    pub struct ClientMessage(message: pb::Message) {
        id: Id = message.id.into(),
        message_type: i64 = number(message.r#type()),
        content_type: Name<ContentType> = Name(message.content_type()),
        content: Option<String> = message.content,
        content_attributes: Attributes = message.content_attributes.into(),
        created_at: Unix = message.created_at.into(),
        conversation_id: Id = message.conversation_id.into(),
        #[serde(skip_serializing_if = "Vec::is_empty")] #[schemars(with = "Vec<Attributes>")]
        attachments: Vec<Attachment> = attachments(message.attachments, message.account_id),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(with = "Attributes")]
        sender: Option<Sender> = message.sender.map(|sender| Sender::new(sender, None).without_availability()),
    }
    truncated_fields = message.truncated_fields;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::json::test_json::{keys, to_json};

    #[test]
    fn message_has_only_what_the_contact_may_see() {
        let json = to_json(&ClientMessage::from(pb::Message {
            id: 9001,
            echo_id: Some("e".to_owned()),
            source_id: Some("s".to_owned()),
            sender: Some(pb::Sender {
                r#type: pb::SenderType::User.into(),
                ..Default::default()
            }),
            ..Default::default()
        }));
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
        let record = to_json(&ContactRecord::from(contact));
        assert_eq!((&record["location"], &record["country_code"]), (&json!("Pune"), &json!("IN")));
        assert_eq!(
            (&record["contact_type"], &record["last_activity_at"]),
            (&json!("visitor"), &Json::Null)
        );
    }
}
