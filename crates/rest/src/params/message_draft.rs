//! Parses the message to be created, from the parameters of message or conversation creation.

use parley_proto::{self as pb, ContentType, MessageType, value::is_beyond_times};
use prost_types::Struct;
use serde_json::{Map, Value as Json, json};

use crate::{
    errors::field_error::FieldError,
    json::values::{Any, Id, Name, Named, OneOf},
    params::{attributes::Attributes, declaration::params, fields::ParamReader, lossless_json},
};

/// The message types that clients can create.
impl Named for MessageType {
    const NAMES: &'static [(&'static str, Self)] = &[("outgoing", Self::Outgoing), ("incoming", Self::Incoming)];
}

/// The keys of `content_attributes` that are used; all others are dropped.
const KEPT: [&str; 3] = ["items", "in_reply_to", "automation_rule_id"];

/// The keys of `template_params` whose values are strings.
const TEMPLATE_TEXTS: [&str; 4] = ["name", "category", "language", "namespace"];

params! {
    /// A message to create.
    pub struct MessageParams {
        message_type: Name<MessageType>,
        content_type: Name<ContentType>,
        content: Option<String>,
        content_attributes: OneOf<Attributes, String>,
        private: bool,
        source_id: String,
        unique_source_id: bool,
        echo_id: String,
        external_created_at: Any,
        template_params: Attributes,
        campaign_id: Id,
        attachments: Vec<String>,
    }
}

/// Parses a message. Violations are collected in `fields`.
pub fn read(fields: &mut ParamReader<'_>) -> pb::MessageDraft {
    let kind = fields.choice::<MessageType>("message_type").unwrap_or_default();
    let content_type = fields.choice::<ContentType>("content_type").unwrap_or_default();
    pb::MessageDraft {
        r#type: kind.into(),
        content: fields.text("content"),
        content_type: content_type.into(),
        content_attributes: content_attributes(fields),
        private: fields.flag("private").unwrap_or(false),
        source_id: fields.text("source_id"),
        unique_source_id: fields.flag("unique_source_id").unwrap_or(false),
        echo_id: fields.text("echo_id"),
        additional_attributes: additional_attributes(fields),
        agent_bot_id: sender_bot(fields),
        attachments: attachments(fields),
    }
}

/// Parses the attachments: files of the request, and upload ids of files that were uploaded earlier.
fn attachments(fields: &mut ParamReader<'_>) -> Vec<pb::AttachmentDraft> {
    let draft = |upload_id| pb::AttachmentDraft {
        kind: Some(pb::attachment_draft::Kind::UploadId(upload_id)),
    };
    upload_ids(fields).into_iter().map(draft).collect()
}

/// Returns the upload ids of the files to attach. Blank ones are skipped.
pub fn upload_ids(fields: &mut ParamReader<'_>) -> Vec<String> {
    let names = fields.texts("attachments").unwrap_or_default();
    names.into_iter().filter(|name| !name.trim().is_empty()).collect()
}

/// Returns the agent bot that sends the message. Other sender types are ignored.
fn sender_bot(fields: &mut ParamReader<'_>) -> Option<i64> {
    let bot = fields.text("sender_type").is_some_and(|kind| kind == "AgentBot");
    fields.id("sender_id").filter(|_| bot)
}

/// Parses an object, or a string that contains an object as JSON, as forms send it. Any other string counts as `{}`.
fn content_attributes(fields: &mut ParamReader<'_>) -> Option<Struct> {
    const KEY: &str = "content_attributes";
    let mut inexact: Vec<String> = fields.inexact_inside(KEY).into_iter().map(str::to_owned).collect();
    let mut sent = match fields.raw(KEY) {
        Some(Json::Object(map)) => map.clone(),
        Some(Json::String(text)) => match lossless_json::parse(text) {
            Ok((Json::Object(map), paths)) => {
                inexact.extend(paths);
                map
            }
            _ => Map::new(),
        },
        _ => Map::new(),
    };
    sent.retain(|key, _| KEPT.contains(&key.as_str()));
    if let Some(Json::String(text)) = sent.get("in_reply_to")
        && let Ok(id) = text.trim().parse::<i64>()
    {
        sent.insert("in_reply_to".to_owned(), json!(id));
    }
    inexact.retain(|path| sent.contains_key(path.split('.').next().unwrap_or(path)));
    if let Some(at) = fields.raw("external_created_at").filter(|at| !at.is_null()) {
        if is_beyond_times(at) {
            fields.add_error(FieldError::new("external_created_at", "is not a time"));
        }
        if fields.is_inexact("external_created_at") {
            inexact.push("external_created_at".to_owned());
        }
        inexact.extend(
            fields
                .inexact_inside("external_created_at")
                .into_iter()
                .map(|path| format!("external_created_at.{path}")),
        );
        sent.insert("external_created_at".to_owned(), at.clone());
    }
    if sent.is_empty() {
        return None;
    }
    fields.exact_attributes(KEY, &sent, inexact.iter().map(String::as_str))
}

/// Builds the additional attributes: `template_params` if present, otherwise `campaign_id`.
fn additional_attributes(fields: &mut ParamReader<'_>) -> Option<Struct> {
    if let Some(Json::Object(sent)) = fields.raw("template_params") {
        let mut params = sent.clone();
        params.retain(|key, value| match key.as_str() {
            "processed_params" => value.is_object(),
            key => TEMPLATE_TEXTS.contains(&key) && value.is_string(),
        });
        if params.get("name").and_then(Json::as_str).is_none_or(|name| name.trim().is_empty()) {
            fields.add_error(FieldError::new("name", "is required"));
        }
        fields.attributes("template_params", &params)?;
        let whole = Map::from_iter([("template_params".to_owned(), Json::Object(params))]);
        return Some(crate::params::attributes::to_struct(&whole));
    }
    let campaign_id = fields.id("campaign_id")?;
    if fields.is_inexact("campaign_id") {
        fields.add_error(FieldError::inexact("campaign_id"));
    }
    let whole = Map::from_iter([("campaign_id".to_owned(), json!(campaign_id))]);
    Some(crate::params::attributes::to_struct(&whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        errors::ApiError,
        params::{Params, attributes::object},
    };

    fn draft(text: &str) -> Result<pb::MessageDraft, ApiError> {
        let (value, inexact) = lossless_json::parse(text).unwrap();
        let Json::Object(map) = value else { panic!("an object") };
        let params = Params {
            map,
            inexact,
            ..Default::default()
        };
        let mut fields = params.fields();
        let draft = read(&mut fields);
        fields.finish_message().map(|()| draft)
    }

    #[test]
    fn minimal_draft_uses_service_defaults() {
        assert_eq!(
            draft(r#"{"content": "hi"}"#).unwrap(),
            pb::MessageDraft {
                content: Some("hi".to_owned()),
                ..Default::default()
            }
        );
    }

    #[test]
    fn content_attributes_are_picked() {
        let made = draft(
            r#"{"content_attributes": {"items": [{"title": "S", "value": 1}], "in_reply_to": "901", "deleted": true, "n": 1e400},
                "external_created_at": 1930999100, "message_type": "incoming", "unique_source_id": true, "source_id": 7}"#,
        )
        .unwrap();
        assert_eq!(
            object(made.content_attributes.as_ref()),
            json!({"items": [{"title": "S", "value": 1}], "in_reply_to": 901, "external_created_at": 1_930_999_100})
        );
        assert_eq!((made.r#type(), made.unique_source_id), (MessageType::Incoming, true));
        assert_eq!(made.source_id.as_deref(), Some("7"));
    }

    #[test]
    fn content_attributes_may_be_a_text() {
        let made = draft(r#"{"content_attributes": "{\"in_reply_to\": 901}"}"#).unwrap();
        assert_eq!(object(made.content_attributes.as_ref()), json!({"in_reply_to": 901}));
        assert_eq!(draft(r#"{"content_attributes": "no json"}"#).unwrap().content_attributes, None);
    }

    #[test]
    fn numbers_are_never_rounded() {
        for text in [
            r#"{"content_attributes": {"items": [{"value": 9007199254740993}]}}"#,
            r#"{"content_attributes": "{\"items\": [{\"value\": 9007199254740993}]}"}"#,
        ] {
            assert_eq!(
                draft(text).unwrap_err(),
                ApiError::message(&[FieldError::inexact("content_attributes.items.0.value")])
            );
        }
    }

    #[test]
    fn templates_and_campaigns() {
        let made =
            draft(r#"{"campaign_id": 4, "template_params": {"name": "order", "language": "en", "x": 1, "processed_params": {"1": "a"}}}"#)
                .unwrap();
        assert_eq!(
            object(made.additional_attributes.as_ref()),
            json!({"template_params": {"name": "order", "language": "en", "processed_params": {"1": "a"}}})
        );
        assert_eq!(
            object(draft(r#"{"campaign_id": "4"}"#).unwrap().additional_attributes.as_ref()),
            json!({"campaign_id": 4})
        );
        assert_eq!(
            draft(r#"{"template_params": {"language": "en"}}"#).unwrap_err(),
            ApiError::message(&[FieldError::new("name", "is required")])
        );
    }

    #[test]
    fn attachments_are_named() {
        let made = draft(r#"{"attachments": ["signed", "", null]}"#).unwrap();
        assert_eq!(made.attachments.len(), 1);
        assert!(draft(r#"{"attachments": [{"a": 1}]}"#).is_err());
    }

    #[test]
    fn unknown_names_are_refused() {
        for (text, sentence) in [
            (r#"{"message_type": "activity"}"#, "'activity' is not a valid message_type"),
            (r#"{"message_type": 1}"#, "'1' is not a valid message_type"),
            (r#"{"content_type": "foo"}"#, "'foo' is not a valid content_type"),
        ] {
            assert_eq!(
                draft(text).unwrap_err(),
                ApiError::error(axum::http::StatusCode::UNPROCESSABLE_ENTITY, sentence)
            );
        }
    }
}
