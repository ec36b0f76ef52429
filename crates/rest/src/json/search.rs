//! The JSON of search results, which have fewer keys than the resources themselves.

use parley_proto as pb;
use serde_json::{Value as Json, json};

use super::{
    message::{number, sender, sender_schema},
    truncated,
};
use crate::{
    openapi::schema::{self, Schema, choice, id, integer, list, object, text},
    params::timestamps::unix,
};

/// A conversation with its matching messages.
pub fn conversation<'m>(
    conversation: &pb::Conversation,
    inbox: Option<&pb::Inbox>,
    messages: impl Iterator<Item = &'m pb::Message>,
) -> Json {
    json!({
        "id": conversation.id,
        "uuid": conversation.uuid,
        "created_at": unix(conversation.created_at.as_ref()),
        "contact": named(conversation.contact.as_ref()),
        "inbox": {
            "id": conversation.inbox_id,
            "name": inbox.map(|inbox| inbox.name.as_str()).unwrap_or_default(),
            "channel_type": "Channel::Api",
        },
        "messages": messages.map(line).collect::<Vec<_>>(),
        "account_id": conversation.account_id,
    })
}

/// The schema of [`conversation`].
pub fn conversation_schema() -> Schema {
    object()
        .key("id", id())
        .key("uuid", text())
        .key("created_at", schema::unix())
        .key("contact", object().key("id", id()).key("name", text().or_null()))
        .key(
            "inbox",
            object()
                .key("id", id())
                .key("name", text())
                .key("channel_type", choice(&["Channel::Api"])),
        )
        .key(
            "messages",
            list(
                truncated::marked(object())
                    .key("content", text().or_null())
                    .key("id", id())
                    .optional("sender_name", text())
                    .key("message_type", integer())
                    .key("created_at", schema::unix()),
            ),
        )
        .key("account_id", id())
        .named("FoundConversation")
}

fn named(contact: Option<&pb::Contact>) -> Json {
    json!({ "id": contact.map(|contact| contact.id), "name": contact.map(|contact| contact.name.as_str()) })
}

fn line(message: &pb::Message) -> Json {
    let mut json = json!({
        "content": message.content,
        "id": message.id,
        "message_type": number(message.r#type()),
        "created_at": unix(message.created_at.as_ref()),
    });
    if let Some(sender) = &message.sender {
        json["sender_name"] = json!(sender.name);
    }
    truncated::mark(&mut json, &message.truncated_fields);
    json
}

/// A message in a search across conversations.
pub fn message(message: &pb::Message) -> Json {
    let mut json = json!({
        "id": message.id,
        "content": message.content,
        "message_type": number(message.r#type()),
        "content_type": super::message::name(&super::message::CONTENT_TYPES, &message.content_type()),
        "source_id": message.source_id,
        "inbox_id": message.inbox_id,
        "conversation_id": message.conversation_id,
        "private": message.private,
        "created_at": unix(message.created_at.as_ref()),
    });
    if let Some(by) = &message.sender {
        json["sender"] = sender(by, None);
    }
    truncated::mark(&mut json, &message.truncated_fields);
    json
}

/// The schema of [`message`].
pub fn message_schema() -> Schema {
    truncated::marked(object())
        .keys(&["id", "inbox_id", "conversation_id"], &id())
        .keys(&["content", "source_id"], &text().or_null())
        .key("message_type", integer())
        .key("content_type", schema::names(&super::message::CONTENT_TYPES))
        .key("private", schema::flag())
        .key("created_at", schema::unix())
        .optional("sender", sender_schema())
        .named("FoundMessage")
}

/// A contact in a search.
pub fn contact(contact: &pb::Contact) -> Json {
    json!({
        "id": contact.id,
        "name": contact.name,
        "email": contact.email,
        "phone_number": contact.phone_number,
        "identifier": contact.identifier,
    })
}

/// The schema of [`contact`].
pub fn contact_schema() -> Schema {
    object()
        .key("id", id())
        .keys(&["name", "email", "phone_number", "identifier"], &text().or_null())
        .named("FoundContact")
}
