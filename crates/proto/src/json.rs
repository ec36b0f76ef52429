//! Events as JSON: every field of the contract under its own name. The code takes the fields from the descriptors, so that no field is
//! missed.
//!
//! Enum values are written in lower case without their prefix (`incoming`), times in RFC 3339 format, bytes in hexadecimal, and cursors in
//! base64url. 64-bit integers are JSON numbers. Absent fields are omitted.

use std::sync::LazyLock;

use parley_types::cursor_text;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};
use serde_json::{Map, Value as Json, json};

use crate::{EventDelivery, description::POOL};

static EVENT: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| POOL.as_ref()?.get_message_by_name("parley.v1.Event"));

/// Converts a message of the contract to JSON. `name` is the full name of the message.
pub fn message(name: &str, message: &impl prost::Message) -> Json {
    let descriptor = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name));
    let decoded = descriptor.and_then(|descriptor| DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok());
    decoded.as_ref().map_or(Json::Null, of_message)
}

/// Converts a delivery to a JSON object: the object that [`event`] returns, plus the `cursor` as text.
pub fn delivery(delivery: &EventDelivery) -> Json {
    let mut object = event(delivery);
    object["cursor"] = json!(cursor_text::encode(&delivery.cursor));
    object
}

/// Converts the event in a delivery to a JSON object, which contains `prev_seq` and the fields of the event, with its resource as
/// `resource`.
pub fn event(delivery: &EventDelivery) -> Json {
    let bytes = delivery.event.as_ref().map(prost::Message::encode_to_vec).unwrap_or_default();
    let decoded = EVENT
        .clone()
        .and_then(|descriptor| DynamicMessage::decode(descriptor, bytes.as_slice()).ok());
    let mut object = Map::new();
    object.insert("prev_seq".to_owned(), json!(delivery.prev_seq));
    for (field, value) in decoded.iter().flat_map(DynamicMessage::fields) {
        let name = match (field.name(), field.containing_oneof()) {
            // `kind_name` contains the same information as `kind`, and also names kinds that this version does not know.
            ("kind", _) => continue,
            ("kind_name", _) => "kind",
            (_, Some(oneof)) if oneof.name() == "resource" => {
                object.insert("resource_type".to_owned(), json!(field.name()));
                "resource"
            }
            (name, _) => name,
        };
        object.insert(name.to_owned(), of(value, &field.kind()));
    }
    Json::Object(object)
}

fn of(value: &Value, kind: &Kind) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::F32(value) => json!(value),
        Value::F64(value) => number(*value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(hex::encode(value)),
        Value::EnumNumber(number) => kind.as_enum().map_or_else(|| json!(number), |kind| short_name(kind, *number)),
        Value::Message(message) => of_message(message),
        Value::List(values) => values.iter().map(|value| of(value, kind)).collect(),
        Value::Map(entries) => {
            let kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            let entry = |(key, value): (&MapKey, &Value)| (name_of(key), of(value, kind.as_ref().unwrap_or(&Kind::String)));
            let mut entries: Vec<_> = entries.iter().map(entry).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Json::Object(entries.into_iter().collect())
        }
    }
}

fn of_message(message: &DynamicMessage) -> Json {
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => json!(message.transcode_to::<prost_types::Timestamp>().unwrap_or_default().to_string()),
        "google.protobuf.Struct" => of_field(message, "fields"),
        "google.protobuf.ListValue" => of_field(message, "values"),
        "google.protobuf.Value" => message.fields().next().map_or(Json::Null, |(field, value)| match field.name() {
            "null_value" => Json::Null,
            _ => of(value, &field.kind()),
        }),
        _ => {
            let member = |(field, value): (FieldDescriptor, &Value)| (field.name().to_owned(), of(value, &field.kind()));
            Json::Object(message.fields().map(member).collect())
        }
    }
}

fn of_field(message: &DynamicMessage, name: &str) -> Json {
    let field = message.descriptor().get_field_by_name(name);
    field.map_or(Json::Null, |field| of(&message.get_field(&field), &field.kind()))
}

/// Writes whole numbers without a fraction. They arrive as doubles, because every number in a `Struct` is a double.
fn number(value: f64) -> Json {
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    if value.fract() == 0.0 && value.abs() < 2_f64.powi(53) {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// Returns the short name of an enum value, such as `incoming` for `MESSAGE_TYPE_INCOMING` of `MessageType`. A number without a name stays
/// a number.
fn short_name(kind: &EnumDescriptor, number: i32) -> Json {
    let Some(value) = kind.get_value(number) else {
        return json!(number);
    };
    let prefix = kind
        .get_value(0)
        .map(|zero| zero.name().trim_end_matches("UNSPECIFIED").to_owned())
        .unwrap_or_default();
    json!(value.name().strip_prefix(&prefix).unwrap_or(value.name()).to_lowercase())
}

fn name_of(key: &MapKey) -> String {
    key.as_str().map_or_else(|| format!("{key:?}"), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn renders_a_message_resource() {
        let rendered = delivery(&samples::message("Hello"));
        let expected = json!({
            "cursor": "Cgs", "prev_seq": 41, "event_id": "e-42", "account_id": 1, "seq": 42, "transaction_id": 41,
            "transaction_end": true, "kind": "message.created", "occurred_at": "2026-01-02T03:04:05Z",
            "actor": { "type": "contact", "id": 7, "name": "Ana" },
            "resource_type": "message",
            "resource": {
                "message": {
                    "id": 9, "conversation_id": 3, "type": "incoming", "content": "Hello",
                    "content_attributes": { "rating": 5, "tags": ["a", null, 1.5] },
                    "sender": { "type": "contact", "id": 7, "name": "Ana" },
                },
            },
        });
        assert_eq!(rendered, expected);
    }

    #[test]
    fn renders_changes_and_unknown_kinds() {
        let mut sample = samples::status_changed();
        if let Some(event) = &mut sample.event {
            event.kind = 250;
            event.kind_name = "conversation.sparkled".to_owned();
        }
        let rendered = delivery(&sample);
        assert_eq!(rendered["kind"], "conversation.sparkled");
        assert_eq!(
            rendered["changes"][0],
            json!({ "field": "status", "before": "open", "after": "resolved" })
        );
        assert_eq!(
            rendered["changes"][1],
            json!({ "field": "priority", "before": null, "after": "high" })
        );
    }
}
