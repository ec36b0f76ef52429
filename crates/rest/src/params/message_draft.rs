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
        content_attributes: OneOf<Attributes, String> as Option<Struct> = content_attributes,
        private: bool,
        source_id: String,
        unique_source_id: bool,
        echo_id: String,
        #[allow(dead_code)] // `content_attributes` reads it
        external_created_at: Any as () = unread,
        template_params: Attributes as Option<Struct> = additional_attributes,
        #[allow(dead_code)] // `additional_attributes` reads it
        campaign_id: Id as () = unread,
        attachments: Vec<String> as (Option<i64>, Vec<pb::AttachmentDraft>) = sender_and_attachments,
    }
}

impl MessageParams {
    /// The message to create.
    pub fn into_draft(self) -> pb::MessageDraft {
        let (agent_bot_id, attachments) = self.attachments;
        pb::MessageDraft {
            r#type: self.message_type.unwrap_or_default().into(),
            content: self.content,
            content_type: self.content_type.unwrap_or_default().into(),
            content_attributes: self.content_attributes,
            private: self.private.unwrap_or(false),
            source_id: self.source_id,
            unique_source_id: self.unique_source_id.unwrap_or(false),
            echo_id: self.echo_id,
            additional_attributes: self.template_params,
            agent_bot_id,
            attachments,
        }
    }
}

/// Reads nothing: for a parameter that is read by the function of another parameter.
fn unread(_fields: &mut ParamReader<'_>, _key: &str) {}

/// Returns the id of the agent bot that sends the message (its parameters are not documented), and the attachments: files of the request and
/// upload ids of files that were uploaded earlier. Other sender types are ignored.
fn sender_and_attachments(fields: &mut ParamReader<'_>, key: &str) -> (Option<i64>, Vec<pb::AttachmentDraft>) {
    let is_bot = fields.text("sender_type").is_some_and(|kind| kind == "AgentBot");
    let draft = |upload_id| pb::AttachmentDraft {
        kind: Some(pb::attachment_draft::Kind::UploadId(upload_id)),
    };
    let attachments = upload_ids(fields, key).into_iter().map(draft).collect();
    (fields.id("sender_id").filter(|_| is_bot), attachments)
}

/// Returns the upload ids of the files to attach. Blank ones are skipped.
pub fn upload_ids(fields: &mut ParamReader<'_>, key: &str) -> Vec<String> {
    let names = fields.texts(key).unwrap_or_default();
    names.into_iter().filter(|name| !name.trim().is_empty()).collect()
}

/// Parses an object, or a string that contains an object as JSON, as forms send it. Any other string counts as `{}`.
fn content_attributes(fields: &mut ParamReader<'_>, key: &str) -> Option<Struct> {
    let mut inexact: Vec<String> = fields.inexact_inside(key).into_iter().map(str::to_owned).collect();
    let mut sent = match fields.raw(key) {
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
    fields.exact_attributes(key, &sent, inexact.iter().map(String::as_str))
}

/// Builds the additional attributes: `template_params` if present, otherwise `campaign_id`.
fn additional_attributes(fields: &mut ParamReader<'_>, key: &str) -> Option<Struct> {
    if let Some(Json::Object(sent)) = fields.raw(key) {
        let mut params = sent.clone();
        params.retain(|key, value| match key.as_str() {
            "processed_params" => value.is_object(),
            key => TEMPLATE_TEXTS.contains(&key) && value.is_string(),
        });
        if params.get("name").and_then(Json::as_str).is_none_or(|name| name.trim().is_empty()) {
            fields.add_error(FieldError::new("name", "is required"));
        }
        fields.attributes(key, &params)?;
        let whole = Map::from_iter([(key.to_owned(), Json::Object(params))]);
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
        let sent = fields.read::<MessageParams>();
        fields.finish_message().map(|()| sent.into_draft())
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
