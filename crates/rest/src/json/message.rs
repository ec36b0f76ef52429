//! The JSON representation of messages: as part of a conversation, and as part of an event.

use parley_proto::{self as pb, ContentType, MessageStatus, MessageType, SenderType};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    attachment::{Attachment, attachments},
    json_type::json_type,
    sender::Sender,
    unread::unread,
    values::{Id, Name, Named},
};
use crate::params::{
    attributes::Attributes,
    timestamps::{Iso, Unix},
};

/// Maximum characters of `processed_message_content`.
const MAX_PROCESSED_CONTENT: usize = 150_000;

impl Named for ContentType {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("input_text", Self::InputText),
        ("input_textarea", Self::InputTextarea),
        ("input_email", Self::InputEmail),
        ("input_select", Self::InputSelect),
        ("cards", Self::Cards),
        ("form", Self::Form),
        ("article", Self::Article),
        ("incoming_email", Self::IncomingEmail),
        ("input_csat", Self::InputCsat),
        ("integrations", Self::Integrations),
        ("sticker", Self::Sticker),
        ("voice_call", Self::VoiceCall),
    ];
}

impl Named for MessageStatus {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("sent", Self::Sent),
        ("delivered", Self::Delivered),
        ("read", Self::Read),
        ("failed", Self::Failed),
    ];
}

/// Returns the number that represents a message type in the JSON API.
pub(super) fn number(kind: MessageType) -> i64 {
    match kind {
        MessageType::Incoming | MessageType::Unspecified => 0,
        MessageType::Outgoing => 1,
        MessageType::Activity => 2,
        MessageType::Template => 3,
    }
}

json_type! {
    // Fields that the representations of a message in conversations and in events have in common.
    #[schemars(inline)]
    struct Common(message: pb::Message, contact: Option<&pb::Contact>) with {
        let account_id = message.account_id;
    } {
        id: Id = message.id.into(),
        inbox_id: Id = message.inbox_id.into(),
        conversation_id: Id = message.conversation_id.into(),
        message_type: i64 = number(message.r#type()),
        content_type: Name<ContentType> = Name(message.content_type()),
        status: Name<MessageStatus> = Name(message.status()),
        content: Option<String> = message.content,
        content_attributes: Attributes = message.content_attributes.into(),
        created_at: Unix = message.created_at.into(),
        private: bool = message.private,
        source_id: Option<String> = message.source_id,
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        echo_id: Option<String> = message.echo_id,
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        sender: Option<Sender> = message.sender.map(|sender| Sender::new(sender, contact)),
        #[serde(skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment> = attachments(message.attachments, account_id),
    }
}

json_type! {
    /// A message, as message lists and calls that write messages return it.
    pub struct Message(mut message: pb::Message) with {
        let truncated_fields = std::mem::take(&mut message.truncated_fields);
    } {
        #[serde(flatten)]
        message: Common = Common::new(message, None),
    }
    truncated_fields = truncated_fields;
}

// The fields of a conversation that are included in each message of an event.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(inline)]
struct EventConversation {
    assignee_id: Option<Id>,
    unread_count: i64,
    last_activity_at: Unix,
    contact_inbox: EventSession,
}

#[derive(Clone, Serialize, JsonSchema)]
#[schemars(inline)]
struct EventSession {
    source_id: Option<String>,
}

/// The data of a conversation that is needed to convert its messages for an event.
pub struct MessageContext<'a> {
    contact: Option<&'a pb::Contact>,
    conversation: EventConversation,
}

impl<'a> MessageContext<'a> {
    /// Returns the context for the messages of this conversation.
    pub fn of(conversation: &'a pb::Conversation) -> Self {
        Self {
            contact: conversation.contact.as_ref(),
            conversation: EventConversation {
                assignee_id: conversation.assignee.as_ref().map(|assignee| assignee.id.into()),
                unread_count: unread(conversation),
                last_activity_at: conversation.last_activity_at.into(),
                contact_inbox: EventSession {
                    source_id: conversation.contact_inbox.as_ref().map(|session| session.source_id.clone()),
                },
            },
        }
    }
}

json_type! {
    /// A message, as part of a conversation or an event.
    pub struct MessageEvent(mut message: pb::Message, context: &MessageContext<'_>) with {
        let truncated_fields = std::mem::take(&mut message.truncated_fields);
        let text = message.content.as_ref();
    } {
        account_id: Id = message.account_id.into(),
        updated_at: Option<Iso> = Iso::optional(message.updated_at),
        sender_type: Option<SenderClass> = message.sender.as_ref().map(|sender| sender.r#type().into()),
        sender_id: Option<Id> = message.sender.as_ref().map(|sender| sender.id.into()),
        external_source_ids: Attributes = Attributes::default(),
        processed_message_content: Option<String> = text.map(|text| text.chars().take(MAX_PROCESSED_CONTENT).collect()),
        sentiment: Attributes = Attributes::default(),
        additional_attributes: Attributes = message.additional_attributes.take().into(),
        conversation: EventConversation = context.conversation.clone(),
        #[serde(flatten)]
        message: Common = Common::new(message, context.contact),
    }
    truncated_fields = truncated_fields;
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
enum SenderClass {
    Contact,
    User,
    AgentBot,
}

impl From<SenderType> for SenderClass {
    fn from(kind: SenderType) -> Self {
        match kind {
            SenderType::Contact | SenderType::Unspecified => Self::Contact,
            SenderType::User => Self::User,
            SenderType::AgentBot => Self::AgentBot,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::json::test_json::{keys, to_json};

    fn sample_message() -> pb::Message {
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
    fn serializes_response_messages() {
        assert_eq!(
            to_json(&Message::from(sample_message())),
            json!({
                "id": 901, "content": "Where is my parcel?", "inbox_id": 9, "conversation_id": 118, "message_type": 0,
                "content_type": "text", "status": "sent", "content_attributes": {}, "created_at": 1_930_999_100, "private": false,
                "source_id": null,
            })
        );
        let echoed = pb::Message {
            echo_id: Some("tmp-1".to_owned()),
            attachments: vec![pb::Attachment::default()],
            ..sample_message()
        };
        let json = to_json(&Message::from(echoed));
        assert_eq!(json["echo_id"], "tmp-1");
        assert_eq!(json["attachments"][0]["file_type"], "file");
    }

    #[test]
    fn serializes_event_messages() {
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
            ..sample_message()
        };
        let context = MessageContext::of(&conversation);
        let json = to_json(&MessageEvent::new(message, &context));
        assert_eq!(json["sender"]["identifier"], "crm-77");
        assert_eq!((&json["sender_type"], &json["sender_id"]), (&json!("Contact"), &json!(41)));
        assert!(json["updated_at"].to_string().contains(".007Z"));
        assert_eq!(
            json["conversation"],
            json!({"assignee_id": null, "unread_count": 10, "last_activity_at": 0, "contact_inbox": {"source_id": "5f0c"}})
        );
        let nobody = to_json(&MessageEvent::new(sample_message(), &context));
        assert_eq!((&nobody["sender_type"], &nobody["sender_id"]), (&Json::Null, &Json::Null));
        assert!(!keys(&nobody).contains(&"sender"));
    }
}
