//! The JSON of messages in two formats, and of their attachments.

use parley_proto::{self as pb, AttachmentType, ContentType, MessageStatus, MessageType, SenderType};
use serde_json::{Value as Json, json};

use super::{
    contact::{contact_event, contact_event_schema},
    truncated,
    unread::unread,
};
use crate::{
    openapi::schema::{self, Schema, attributes, choice, either, flag, id, integer, list, names, only, text},
    params::{
        attributes::object,
        timestamps::{iso, unix},
    },
};

/// Maximum characters of `processed_message_content`.
const PROCESSED: usize = 150_000;

/// The names of content types in requests and responses.
pub const CONTENT_TYPES: [(&str, ContentType); 13] = [
    ("text", ContentType::Text),
    ("input_text", ContentType::InputText),
    ("input_textarea", ContentType::InputTextarea),
    ("input_email", ContentType::InputEmail),
    ("input_select", ContentType::InputSelect),
    ("cards", ContentType::Cards),
    ("form", ContentType::Form),
    ("article", ContentType::Article),
    ("incoming_email", ContentType::IncomingEmail),
    ("input_csat", ContentType::InputCsat),
    ("integrations", ContentType::Integrations),
    ("sticker", ContentType::Sticker),
    ("voice_call", ContentType::VoiceCall),
];

/// The names of delivery statuses in requests and responses.
pub const STATUSES: [(&str, MessageStatus); 4] = [
    ("sent", MessageStatus::Sent),
    ("delivered", MessageStatus::Delivered),
    ("read", MessageStatus::Read),
    ("failed", MessageStatus::Failed),
];

/// The name of a value. An unnamed value gets the first name.
pub fn name<T: PartialEq>(names: &'static [(&'static str, T)], value: &T) -> &'static str {
    names
        .iter()
        .find(|(_, named)| named == value)
        .or(names.first())
        .map_or("", |(name, _)| name)
}

/// The number of a message type in the JSON API.
pub(super) fn number(kind: MessageType) -> i32 {
    match kind {
        MessageType::Incoming | MessageType::Unspecified => 0,
        MessageType::Outgoing => 1,
        MessageType::Activity => 2,
        MessageType::Template => 3,
    }
}

/// The keys of both formats.
fn common(message: &pb::Message, contact: Option<&pb::Contact>) -> Json {
    let mut json = json!({
        "id": message.id,
        "content": message.content,
        "inbox_id": message.inbox_id,
        "conversation_id": message.conversation_id,
        "message_type": number(message.r#type()),
        "content_type": name(&CONTENT_TYPES, &message.content_type()),
        "status": name(&STATUSES, &message.status()),
        "content_attributes": object(message.content_attributes.as_ref()),
        "created_at": unix(message.created_at.as_ref()),
        "private": message.private,
        "source_id": message.source_id,
    });
    if let Some(echo_id) = &message.echo_id {
        json["echo_id"] = json!(echo_id);
    }
    if let Some(sender) = &message.sender {
        json["sender"] = self::sender(sender, contact);
    }
    if !message.attachments.is_empty() {
        json["attachments"] = message.attachments.iter().map(|it| attachment(it, message.account_id)).collect();
    }
    json
}

/// A message as the message endpoints return it.
pub fn message(message: &pb::Message) -> Json {
    let mut json = common(message, None);
    truncated::mark(&mut json, &message.truncated_fields);
    json
}

/// The schema of [`message`].
pub fn schema() -> Schema {
    truncated::marked(schema::object())
        .keys(&["id", "inbox_id", "conversation_id"], &id())
        .keys(&["content", "source_id"], &text().or_null())
        .key("message_type", integer().note("0 incoming, 1 outgoing, 2 activity, 3 template."))
        .key("content_type", names(&CONTENT_TYPES))
        .key("status", names(&STATUSES))
        .key("content_attributes", attributes())
        .key("created_at", schema::unix())
        .key("private", flag())
        .optional("echo_id", text())
        .optional("sender", sender_schema())
        .optional("attachments", list(attachment_schema()))
        .named("Message")
}

/// The schema of [`message_event`].
pub fn event_schema() -> Schema {
    let conversation = schema::object()
        .key("assignee_id", id().or_null())
        .key("unread_count", integer())
        .key("last_activity_at", schema::unix())
        .key("contact_inbox", schema::object().key("source_id", text().or_null()));
    schema()
        .key("account_id", id())
        .key("updated_at", schema::iso().or_null())
        .key("sender_type", choice(&["Contact", "User", "AgentBot"]).or_null())
        .key("sender_id", id().or_null())
        .keys(&["external_source_ids", "additional_attributes", "sentiment"], &attributes())
        .key("processed_message_content", text().or_null())
        .key("conversation", conversation)
        .named("MessageEvent")
}

/// The schema of [`sender`].
pub(super) fn sender_schema() -> Schema {
    let bot = schema::object()
        .key("id", id())
        .keys(&["name", "avatar_url"], &text())
        .key("type", only("agent_bot"))
        .named("AgentBotEvent");
    either([contact_event_schema(), super::agent::user_event_schema(), bot])
}

/// A message in Chatwoot's event format, as part of its conversation.
pub fn message_event(message: &pb::Message, conversation: &pb::Conversation) -> Json {
    let mut json = common(message, conversation.contact.as_ref());
    let content: Option<String> = message.content.as_ref().map(|content| content.chars().take(PROCESSED).collect());
    let kind = message.sender.as_ref().map(|sender| match sender.r#type() {
        SenderType::Contact | SenderType::Unspecified => "Contact",
        SenderType::User => "User",
        SenderType::AgentBot => "AgentBot",
    });
    json["account_id"] = json!(message.account_id);
    json["updated_at"] = iso(message.updated_at.as_ref());
    json["sender_type"] = json!(kind);
    json["sender_id"] = json!(message.sender.as_ref().map(|sender| sender.id));
    json["external_source_ids"] = json!({});
    json["additional_attributes"] = object(message.additional_attributes.as_ref());
    json["processed_message_content"] = json!(content);
    json["sentiment"] = json!({});
    json["conversation"] = json!({
        "assignee_id": conversation.assignee.as_ref().map(|assignee| assignee.id),
        "unread_count": unread(conversation),
        "last_activity_at": unix(conversation.last_activity_at.as_ref()),
        "contact_inbox": { "source_id": conversation.contact_inbox.as_ref().map(|session| &session.source_id) },
    });
    truncated::mark(&mut json, &message.truncated_fields);
    json
}

/// The sender of a message. `contact` is that of the conversation, if known.
pub(super) fn sender(sender: &pb::Sender, contact: Option<&pb::Contact>) -> Json {
    match sender.r#type() {
        SenderType::Contact | SenderType::Unspecified => {
            let known = sender.contact.as_ref().or(contact.filter(|contact| contact.id == sender.id));
            contact_event(&known.cloned().unwrap_or_else(|| pb::Contact {
                id: sender.id,
                name: sender.name.clone(),
                avatar_url: sender.avatar_url.clone(),
                ..Default::default()
            }))
        }
        SenderType::User => json!({
            "id": sender.id,
            "name": sender.name,
            "available_name": sender.available_name.as_ref().unwrap_or(&sender.name),
            "avatar_url": sender.avatar_url,
            "type": "user",
            // The message describes its sender as of when it was written, not the current availability.
            "availability_status": "offline",
            "thumbnail": sender.avatar_url,
        }),
        SenderType::AgentBot => json!({
            "id": sender.id,
            "name": sender.name,
            "avatar_url": sender.avatar_url,
            "type": "agent_bot",
        }),
    }
}

fn attachment(attachment: &pb::Attachment, account_id: i64) -> Json {
    let (name, keys) = match attachment.r#type() {
        AttachmentType::Image => ("image", file(attachment)),
        AttachmentType::Video => ("video", file(attachment)),
        AttachmentType::File | AttachmentType::Unspecified => ("file", file(attachment)),
        AttachmentType::Share => ("share", file(attachment)),
        AttachmentType::StoryMention => ("story_mention", file(attachment)),
        AttachmentType::IgReel => ("ig_reel", file(attachment)),
        AttachmentType::Audio => {
            let mut keys = file(attachment);
            keys["transcribed_text"] = json!("");
            ("audio", keys)
        }
        AttachmentType::Location => (
            "location",
            json!({
                "coordinates_lat": attachment.latitude,
                "coordinates_long": attachment.longitude,
                "fallback_title": attachment.fallback_title,
                "data_url": attachment.data_url,
            }),
        ),
        AttachmentType::Fallback => (
            "fallback",
            json!({ "fallback_title": attachment.fallback_title, "data_url": attachment.data_url }),
        ),
        AttachmentType::Contact => (
            "contact",
            json!({ "fallback_title": attachment.fallback_title, "meta": object(attachment.meta.as_ref()) }),
        ),
    };
    let mut json = keys;
    json["id"] = json!(attachment.id);
    json["message_id"] = json!(attachment.message_id);
    json["file_type"] = json!(name);
    json["account_id"] = json!(account_id);
    truncated::mark(&mut json, &attachment.truncated_fields);
    json
}

fn attachment_schema() -> Schema {
    let common = |kinds: &[&str]| {
        schema::object()
            .keys(&["id", "message_id", "account_id"], &id())
            .key("file_type", choice(kinds))
    };
    let of_file = |kinds: &[&str]| {
        common(kinds)
            .keys(&["extension", "data_url", "thumb_url"], &text().or_null())
            .keys(&["file_size", "width", "height"], &integer().or_null())
    };
    either([
        of_file(&["image", "video", "file", "share", "story_mention", "ig_reel"]),
        of_file(&["audio"]).key("transcribed_text", text()),
        common(&["location"])
            .keys(&["coordinates_lat", "coordinates_long"], &schema::number())
            .keys(&["fallback_title", "data_url"], &text().or_null()),
        common(&["fallback"]).keys(&["fallback_title", "data_url"], &text().or_null()),
        truncated::marked(common(&["contact"]))
            .key("fallback_title", text().or_null())
            // Named, because code generators would otherwise create a model of the same name for each variant.
            .key("meta", attributes().named("AttachmentMeta")),
    ])
    .named("Attachment")
}

/// The schema of [`listed_attachment`].
pub fn listed_attachment_schema() -> Schema {
    schema::object()
        .key("message_id", id())
        .key("file_type", text())
        .keys(&["extension", "data_url", "thumb_url"], &text().or_null())
        .keys(&["file_size", "width", "height"], &integer().or_null())
        .key("created_at", schema::unix())
        .optional("sender", sender_schema())
        .named("ListedAttachment")
}

/// An attachment in the format of a conversation's attachment list, which omits the attachment's id.
pub fn listed_attachment(listed: &pb::ConversationAttachment) -> Json {
    let row = listed.attachment.clone().unwrap_or_default();
    let message = listed.message.clone().unwrap_or_default();
    let mut json = file(&row);
    json["message_id"] = json!(row.message_id);
    json["file_type"] = attachment(&row, message.account_id)["file_type"].take();
    json["created_at"] = json!(unix(message.created_at.as_ref()));
    if let Some(who) = &message.sender {
        json["sender"] = sender(who, None);
    }
    json
}

fn file(attachment: &pb::Attachment) -> Json {
    json!({
        "extension": attachment.extension,
        "data_url": attachment.data_url,
        "thumb_url": attachment.thumb_url,
        "file_size": attachment.file_size,
        "width": attachment.width,
        "height": attachment.height,
    })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::json::agent::keys;

    fn said() -> pb::Message {
        pb::Message {
            id: 901,
            account_id: 3,
            inbox_id: 9,
            conversation_id: 118,
            r#type: MessageType::Incoming.into(),
            content: Some("Where is my parcel?".to_owned()),
            content_type: ContentType::Text.into(),
            status: MessageStatus::Sent.into(),
            created_at: Some(Timestamp {
                seconds: 1_930_999_100,
                nanos: 7_000_000,
            }),
            updated_at: Some(Timestamp {
                seconds: 1_930_999_100,
                nanos: 7_000_000,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn the_response_form() {
        assert_eq!(
            message(&said()),
            json!({
                "id": 901, "content": "Where is my parcel?", "inbox_id": 9, "conversation_id": 118, "message_type": 0,
                "content_type": "text", "status": "sent", "content_attributes": {}, "created_at": 1_930_999_100, "private": false,
                "source_id": null,
            })
        );
        let echoed = pb::Message {
            echo_id: Some("tmp-1".to_owned()),
            attachments: vec![pb::Attachment::default()],
            ..said()
        };
        assert_eq!(message(&echoed)["echo_id"], "tmp-1");
        assert_eq!(message(&echoed)["attachments"][0]["file_type"], "file");
    }

    #[test]
    fn the_event_form() {
        let conversation = pb::Conversation {
            unread_count: 12,
            contact: Some(pb::Contact {
                id: 41,
                name: "Ana".to_owned(),
                identifier: Some("crm-77".to_owned()),
                ..Default::default()
            }),
            contact_inbox: Some(pb::ContactInbox {
                source_id: "5f0c".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let message = pb::Message {
            sender: Some(pb::Sender {
                r#type: SenderType::Contact.into(),
                id: 41,
                ..Default::default()
            }),
            ..said()
        };
        let json = message_event(&message, &conversation);
        assert_eq!(json["sender"]["identifier"], "crm-77");
        assert_eq!((&json["sender_type"], &json["sender_id"]), (&json!("Contact"), &json!(41)));
        assert!(json["updated_at"].to_string().contains(".007Z"));
        assert_eq!(
            json["conversation"],
            json!({"assignee_id": null, "unread_count": 10, "last_activity_at": 0, "contact_inbox": {"source_id": "5f0c"}})
        );
        let nobody = message_event(&said(), &conversation);
        assert_eq!((&nobody["sender_type"], &nobody["sender_id"]), (&Json::Null, &Json::Null));
        assert!(!keys(&nobody).contains(&"sender"));
    }

    #[test]
    fn senders() {
        let mut user = pb::Sender {
            r#type: SenderType::User.into(),
            id: 12,
            name: "Mina Okafor".to_owned(),
            available_name: Some("Mina".to_owned()),
            ..Default::default()
        };
        assert_eq!(
            sender(&user, None),
            json!({"id": 12, "name": "Mina Okafor", "available_name": "Mina", "avatar_url": "", "type": "user",
                "availability_status": "offline", "thumbnail": ""})
        );
        user.set_type(SenderType::AgentBot);
        assert_eq!(
            sender(&user, None),
            json!({"id": 12, "name": "Mina Okafor", "avatar_url": "", "type": "agent_bot"})
        );
    }
}
