//! Validates drafts of messages: their fields, and the items that their content type requires.

use parley_domain::{
    files::new_attachment::{NewAttachment, Plain},
    kind::{AttachmentType, ContentType, MessageType},
    messages::new_message::NewMessage,
};
use parley_proto::{self as pb, value::is_beyond_times};
use parley_types::{
    attribute_limits::{self, AttributeSize},
    error::Rule,
    id::AgentBotId,
    time::Micros,
};
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::{Map, Value as Json, json};

use super::fields::{SHORT_TEXT, Validator};

/// Maximum length of a message in characters, as in Chatwoot.
const CONTENT: usize = 150_000;

/// Maximum length of a URL in characters, as in Chatwoot.
const URL: usize = 2048;

/// The keys of `content_attributes` that are stored on creation, as in Chatwoot.
const STORED_KEYS: [&str; 4] = ["items", "in_reply_to", "automation_rule_id", "external_created_at"];

/// Converts a draft to a new message and reports every invalid field.
pub fn read(fields: &mut Validator, draft: pb::MessageDraft) -> NewMessage {
    let message_type = fields
        .kind::<pb::MessageType>("type", draft.r#type)
        .and_then(pb::MessageType::to_row);
    let content_type = fields
        .kind::<pb::ContentType>("content_type", draft.content_type)
        .and_then(pb::ContentType::to_row);
    let content_type = content_type.unwrap_or(ContentType::Text);
    if let Some(content) = &draft.content {
        fields.text("content", content, CONTENT);
    }
    if let Some(echo_id) = &draft.echo_id {
        fields.text("echo_id", echo_id, SHORT_TEXT);
    }
    items(fields, content_type, draft.content_attributes.as_ref());
    let mut content_attributes = fields.attributes("content_attributes", draft.content_attributes.as_ref());
    content_attributes.retain(|key, _| STORED_KEYS.contains(&key.as_str()));
    if content_attributes.get("external_created_at").is_some_and(is_beyond_times) {
        let description = "must be a time in seconds within the years 1 to 9999";
        fields.add_violation(
            "content_attributes.external_created_at",
            Rule::OutOfRange(Micros::MAX.seconds()),
            description,
        );
    }
    NewMessage {
        message_type: message_type.unwrap_or(MessageType::Outgoing),
        content: draft.content,
        rendered: false,
        content_type,
        content_attributes: Json::Object(content_attributes),
        private: draft.private,
        source_id: fields.optional("source_id", draft.source_id, SHORT_TEXT),
        unique_source_id: draft.unique_source_id,
        echo_id: draft.echo_id,
        additional_attributes: Json::Object(template(fields, draft.additional_attributes.as_ref())),
        agent_bot_id: draft.agent_bot_id.map(AgentBotId),
        agent_bot: None,
        wanted: attachments(fields, draft.attachments),
        pending_attachments: Vec::new(),
        attachments: Vec::new(),
    }
}

/// Whether the content is a template, which is rendered before the message is queued.
pub fn is_template(request: &pb::SendMessagesRequest) -> bool {
    let draft = request.message.as_ref();
    let is_sent = |draft: &&pb::MessageDraft| draft.r#type() != pb::MessageType::Incoming;
    let content = draft.filter(is_sent).and_then(|draft| draft.content.as_deref());
    content.is_some_and(parley_domain::messages::liquid::is_template)
}

fn attachments(fields: &mut Validator, drafts: Vec<pb::AttachmentDraft>) -> Vec<NewAttachment> {
    let read =
        |(nth, draft): (usize, pb::AttachmentDraft)| fields.within(&format!("attachments[{nth}]"), |fields| attachment(fields, draft));
    let attachments: Vec<NewAttachment> = drafts.into_iter().enumerate().filter_map(read).collect();
    // The attachments are stored in one message, so their `meta` objects together must fit into the limits on one attribute map. A single
    // `meta` object that exceeds the limits has already been reported.
    let meta = |attachment: &NewAttachment| match attachment {
        NewAttachment::Plain(plain) => AttributeSize::of(&plain.meta).bytes(),
        NewAttachment::Upload(_) => 0,
    };
    let sizes: Vec<usize> = attachments.iter().map(meta).collect();
    let most = attribute_limits::BYTES;
    if sizes.iter().all(|size| *size <= most) && sizes.iter().sum::<usize>() > most {
        let text = format!("must have at most {most} bytes of encoded meta in total");
        fields.add_violation("attachments", Rule::TooLong(most), text);
    }
    attachments
}

fn attachment(fields: &mut Validator, draft: pb::AttachmentDraft) -> Option<NewAttachment> {
    use pb::attachment_draft::Kind;
    let Some(kind) = draft.kind else {
        fields.add_violation("kind", Rule::Required, "must be given");
        return None;
    };
    let plain = match kind {
        Kind::UploadId(name) => return Some(NewAttachment::Upload(name)),
        Kind::Location(place) => fields.within("location", |fields| {
            fields.degrees("latitude", place.latitude, 90);
            fields.degrees("longitude", place.longitude, 180);
            Plain {
                kind: AttachmentType::Location,
                title: fields.optional("title", Some(place.title), SHORT_TEXT),
                url: url(fields, place.url),
                place: Some((place.latitude, place.longitude)),
                meta: json!({}),
            }
        }),
        Kind::Contact(card) => fields.within("contact", |fields| {
            fields.required("title", &card.title, SHORT_TEXT);
            Plain {
                kind: AttachmentType::Contact,
                title: Some(card.title),
                url: String::new(),
                place: None,
                meta: Json::Object(fields.attributes("meta", card.meta.as_ref())),
            }
        }),
        Kind::Fallback(link) => fields.within("fallback", |fields| {
            fields.required("title", &link.title, SHORT_TEXT);
            Plain {
                kind: AttachmentType::Fallback,
                title: Some(link.title),
                url: url(fields, link.url),
                place: None,
                meta: json!({}),
            }
        }),
    };
    Some(NewAttachment::Plain(Box::new(plain)))
}

fn url(fields: &mut Validator, url: String) -> String {
    fields.url("url", &url, URL);
    url
}

/// Validates additional attributes: template parameters must contain the template's name.
fn template(fields: &mut Validator, attributes: Option<&Struct>) -> Map<String, Json> {
    let object = fields.attributes("additional_attributes", attributes);
    let named = |params: &Map<String, Json>| params.get("name").and_then(Json::as_str).is_some_and(|name| !name.is_empty());
    if let Some(Json::Object(params)) = object.get("template_params")
        && !named(params)
    {
        fields.add_violation(
            "additional_attributes.template_params.name",
            Rule::Required,
            "must be the name of the template",
        );
    }
    object
}

/// Returns the keys that an item of this content type may have, or `None` if the content type has no items.
fn item_keys(content_type: ContentType) -> Option<&'static [&'static str]> {
    match content_type {
        ContentType::InputSelect => Some(&["title", "value"]),
        ContentType::Cards => Some(&["title", "description", "media_url", "actions"]),
        ContentType::Form => Some(&[
            "type",
            "placeholder",
            "label",
            "name",
            "options",
            "default",
            "required",
            "pattern",
            "title",
            "pattern_error",
        ]),
        ContentType::Article => Some(&["title", "description", "link"]),
        _ => None,
    }
}

/// Validates the items of a content type by Chatwoot's rules. The error messages are Chatwoot's as well, because the REST gateway returns
/// them unchanged.
fn items(fields: &mut Validator, content_type: ContentType, attributes: Option<&Struct>) {
    let Some(allowed) = item_keys(content_type) else { return };
    let mut add_violation = |rule, text: String| fields.add_violation("content_attributes", rule, text);
    let items = match attributes
        .and_then(|attributes| attributes.fields.get("items"))
        .and_then(|items| items.kind.as_ref())
    {
        Some(Kind::ListValue(ListValue { values })) if !values.is_empty() => values,
        _ => return add_violation(Rule::Required, "At least one item is required.".to_owned()),
    };
    for item in items {
        let Some(Kind::StructValue(item)) = &item.kind else {
            return add_violation(Rule::Invalid, "Items should be a hash.".to_owned());
        };
        let unknown_keys = unknown_keys(item, allowed);
        if !unknown_keys.is_empty() {
            return add_violation(Rule::Unknown, format!("contains invalid keys for items : [{unknown_keys}]"));
        }
        if content_type == ContentType::Cards
            && let Err((rule, text)) = actions(item.fields.get("actions"))
        {
            return add_violation(rule, text);
        }
    }
}

fn actions(actions: Option<&Value>) -> Result<(), (Rule, String)> {
    let actions = match actions.and_then(|actions| actions.kind.as_ref()) {
        Some(Kind::ListValue(ListValue { values })) if !values.is_empty() => values,
        _ => return Err((Rule::Required, "contains items missing actions".to_owned())),
    };
    for action in actions {
        let unknown_keys = match &action.kind {
            Some(Kind::StructValue(action)) => unknown_keys(action, &["type", "text", "uri", "payload"]),
            _ => return Err((Rule::Invalid, "Items should be a hash.".to_owned())),
        };
        if !unknown_keys.is_empty() {
            return Err((Rule::Unknown, format!("contains invalid keys for actions:  [{unknown_keys}]")));
        }
    }
    Ok(())
}

fn unknown_keys(item: &Struct, allowed: &[&str]) -> String {
    let keys = item.fields.keys().filter(|key| !allowed.contains(&key.as_str()));
    keys.map(|key| format!(":{key}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use parley_proto::value::structure;
    use parley_types::error::Error;

    fn refused(content_type: pb::ContentType, attributes: &Json) -> String {
        let mut fields = Validator::default();
        let draft = pb::MessageDraft {
            content_type: content_type.into(),
            content_attributes: structure(attributes),
            ..pb::MessageDraft::default()
        };
        read(&mut fields, draft);
        match fields.finish() {
            Ok(()) => String::new(),
            Err(Error::Invalid(violations)) => violations.into_iter().map(|violation| violation.description).collect(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn item_errors_have_chatwoots_text() {
        use pb::ContentType::{Article, Cards, InputSelect, Text};
        assert_eq!(refused(Text, &json!({})), "");
        assert_eq!(refused(InputSelect, &json!({"items": []})), "At least one item is required.");
        assert_eq!(refused(InputSelect, &json!({"items": ["a"]})), "Items should be a hash.");
        assert_eq!(refused(InputSelect, &json!({"items": [{"title": "S", "value": "s"}]})), "");
        assert_eq!(
            refused(Article, &json!({"items": [{"foo": 1}]})),
            "contains invalid keys for items : [:foo]"
        );
        assert_eq!(
            refused(Cards, &json!({"items": [{"title": "K"}]})),
            "contains items missing actions"
        );
        let card = json!({"items": [{"title": "K", "actions": [{"foo": 1}]}]});
        assert_eq!(refused(Cards, &card), "contains invalid keys for actions:  [:foo]");
    }

    #[test]
    fn unknown_content_attributes_are_dropped() {
        let draft = pb::MessageDraft {
            content_attributes: structure(&json!({"in_reply_to": 3, "deleted": true})),
            ..pb::MessageDraft::default()
        };
        assert_eq!(read(&mut Validator::default(), draft).content_attributes, json!({"in_reply_to": 3}));
    }
}
