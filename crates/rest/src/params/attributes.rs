//! Conversion of attributes between JSON and `google.protobuf.Struct`.

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use crate::openapi::schema::inline_schema;

/// Maximum nesting depth of attributes. prost decodes messages at most 100 levels deep; each object takes three of these levels, and the
/// enclosing messages take a few more.
pub const DEPTH: usize = 24;

/// 2^53. A double represents every integer up to this absolute value exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether a value is nested at most [`DEPTH`] levels deep.
pub fn is_shallow(json: &Json) -> bool {
    fn within(json: &Json, left: usize) -> bool {
        match json {
            Json::Array(items) => left > 0 && items.iter().all(|item| within(item, left - 1)),
            Json::Object(map) => left > 0 && map.values().all(|item| within(item, left - 1)),
            _ => true,
        }
    }
    within(json, DEPTH)
}

/// Converts a JSON object to a Protobuf struct. The caller must have checked that every number in the object can be represented exactly as
/// a double.
pub fn to_struct(map: &Map<String, Json>) -> Struct {
    Struct {
        fields: map.iter().map(|(key, value)| (key.clone(), to_value(value))).collect(),
    }
}

/// Converts a JSON value to a Protobuf value.
pub fn to_value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(*bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(to_value).collect(),
        }),
        Json::Object(map) => Kind::StructValue(to_struct(map)),
    };
    Value { kind: Some(kind) }
}

/// Attributes in a response. Missing attributes are encoded as `{}`.
#[derive(Clone, Debug, Default)]
pub struct Attributes(pub Option<Struct>);

/// A single attribute value in a response.
#[derive(Clone, Debug)]
pub struct Attribute(pub Value);

impl Attributes {
    /// Returns whether there are no attributes.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|attributes| attributes.fields.is_empty())
    }

    /// Returns a copy of the value of a key, or `None` if the key does not exist.
    pub fn get(&self, key: &str) -> Option<Attribute> {
        self.0.as_ref()?.fields.get(key).cloned().map(Attribute)
    }
}

impl From<Option<Struct>> for Attributes {
    fn from(attributes: Option<Struct>) -> Self {
        Self(attributes)
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.iter().flat_map(|attributes| &attributes.fields);
        serializer.collect_map(fields.map(|(key, value)| (key, Borrowed(value))))
    }
}

impl Serialize for Attribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Borrowed(&self.0).serialize(serializer)
    }
}

inline_schema!(Attributes, { "type": "object" });
inline_schema!(Attribute, {});

struct Borrowed<'a>(&'a Value);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            None | Some(Kind::NullValue(_)) => serializer.serialize_unit(),
            Some(Kind::BoolValue(bool)) => serializer.serialize_bool(*bool),
            Some(Kind::NumberValue(double)) => serialize_number(*double, serializer),
            Some(Kind::StringValue(text)) => serializer.serialize_str(text),
            Some(Kind::ListValue(list)) => serializer.collect_seq(list.values.iter().map(Borrowed)),
            Some(Kind::StructValue(inner)) => serializer.collect_map(inner.fields.iter().map(|(key, value)| (key, Borrowed(value)))),
        }
    }
}

/// Encodes a double. Whole numbers that a double represents exactly are written as integers. Infinite numbers become null, because JSON
/// cannot represent them.
#[allow(clippy::cast_possible_truncation)] // below 2^53, and without a fraction
fn serialize_number<S: Serializer>(double: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if double.fract() == 0.0 && double.abs() < EXACT {
        serializer.serialize_i64(double as i64)
    } else {
        serializer.serialize_f64(double)
    }
}

/// Converts a Protobuf struct to a JSON object.
#[cfg(test)]
pub fn object(attributes: Option<&Struct>) -> Json {
    serde_json::to_value(Attributes(attributes.cloned())).unwrap()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_come_back_as_integers() {
        let attributes = json!({"n": 3, "x": 0.5, "big": 9_007_199_254_740_991_i64, "list": [1, {"deep": -2}], "none": null, "t": true});
        let wire = to_struct(attributes.as_object().unwrap());
        assert_eq!(object(Some(&wire)).to_string(), attributes.to_string());
        assert_eq!(object(None), json!({}));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(is_shallow(&nested(DEPTH)));
        assert!(!is_shallow(&nested(DEPTH + 1)));
    }

    /// `DEPTH` exists because of prost's limit, so a value of that depth must be decodable within the messages that carry it.
    #[test]
    fn maximum_depth_is_decodable() {
        use prost::Message as _;
        let nested = (0..DEPTH).fold(json!(1), |inner, _| json!({ "a": inner }));
        let message = parley_proto::Message {
            content_attributes: Some(to_struct(nested.as_object().unwrap())),
            ..Default::default()
        };
        let response = parley_proto::ListMessagesResponse {
            conversation: Some(parley_proto::Conversation {
                last_message: Some(message.clone()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let bytes = response.encode_to_vec();
        assert_eq!(parley_proto::ListMessagesResponse::decode(bytes.as_slice()).unwrap(), response);
    }
}
