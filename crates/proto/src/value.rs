//! Attributes and times on the wire: JSON objects as `Struct`, microseconds as `Timestamp`.

use std::collections::BTreeMap;

use parley_fault::Protection;
use parley_types::{
    attribute_limits::{self, AttributeSize},
    time::Micros,
};
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};
use serde_json::{Map, Number, Value as Json};

/// 2^53: a double represents every integer below it exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Converts a time to a `Timestamp`. A row that was stored before times were limited may contain a time that the message cannot represent.
/// Such a time is converted to the nearest valid time, because clients fail to render invalid times as JSON.
pub fn timestamp(at: Micros) -> Timestamp {
    let at = if parley_fault::is_on(Protection::TimeRange) {
        at.clamp(Micros::MIN, Micros::MAX)
    } else {
        at
    };
    Timestamp {
        seconds: at.seconds(),
        // The value is in range: it is the remainder of a division by a million, times a thousand.
        nanos: i32::try_from(at.0.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    }
}

/// Converts an optional time to an optional `Timestamp`.
pub fn maybe_timestamp(at: Option<Micros>) -> Option<Timestamp> {
    at.map(timestamp)
}

/// Converts a timestamp to microseconds. Returns `None` for a time outside of the years 1 to 9999, to which the message and its JSON form
/// are limited.
pub fn micros(at: &Timestamp) -> Option<Micros> {
    if !(0..1_000_000_000).contains(&at.nanos) {
        return None;
    }
    let micros = at.seconds.checked_mul(1_000_000)?.checked_add(i64::from(at.nanos) / 1000);
    micros
        .map(Micros)
        .filter(|at| (Micros::MIN..=Micros::MAX).contains(at) || !parley_fault::is_on(Protection::TimeRange))
}

/// Whether a value is a time outside of the years 1 to 9999, as a number of seconds since 1970 or such a number as text. Such values are
/// usually in milliseconds.
pub fn is_beyond_times(value: &Json) -> bool {
    let seconds = match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse::<i64>().ok().and_then(|seconds| Number::from(seconds).as_f64()),
        _ => None,
    };
    let (first, last) = (Micros::MIN.seconds(), Micros::MAX.seconds());
    // A double represents both ends of the range exactly, so these casts are lossless.
    #[allow(clippy::cast_precision_loss)]
    let range = first as f64..(last + 1) as f64;
    seconds.is_some_and(|seconds| !range.contains(&seconds)) && parley_fault::is_on(Protection::TimeRange)
}

/// Converts a stored JSON object to a `Struct`. Returns `None` if the object is empty.
pub fn structure(json: &Json) -> Option<Struct> {
    match json {
        Json::Object(map) if !map.is_empty() => Some(Struct { fields: fields(map) }),
        _ => None,
    }
}

/// Maximum number of nesting levels that are sent. This is one level more than clients may write, because the REST gateway once accepted 25
/// levels.
pub(super) const SENT_LEVELS: usize = attribute_limits::LEVELS + 1;

/// Maximum size in bytes of content attributes that are sent. This is more than clients may write, because the server adds `external_error`
/// and data about the message that is replied to.
pub(super) const SENT_CONTENT: usize = attribute_limits::BYTES + 96 * 1024;

/// Maximum number of keys of content attributes that are sent. This is more than clients may write, because the server adds
/// `external_error` and `in_reply_to_external_id`.
pub(super) const SENT_CONTENT_KEYS: usize = attribute_limits::KEYS + 8;

/// Whether a value that was stored before the limits existed is too large, too deep, or has too many keys to be sent within a larger
/// message.
pub fn is_oversized(value: &Json) -> bool {
    !is_sent(AttributeSize::of(value), attribute_limits::BYTES, SENT_CONTENT_KEYS)
}

/// Whether a map or value of this size may be sent.
fn is_sent(size: AttributeSize, bytes: usize, keys: usize) -> bool {
    size.wire <= bytes && size.levels <= SENT_LEVELS && size.keys <= keys
}

/// Converts the attribute maps of one resource. Maps that exceed the limits because they were stored before the limits existed are omitted,
/// and their field names are recorded for `truncated_fields`.
#[derive(Debug, Default)]
pub struct AttributeMaps {
    truncated: Vec<String>,
}

impl AttributeMaps {
    /// Converts a stored attribute map. Returns `None` if the map is empty or omitted.
    pub fn structure(&mut self, field: &str, json: &Json) -> Option<Struct> {
        self.within(field, json, attribute_limits::BYTES, attribute_limits::KEYS)
    }

    /// Converts the content attributes of a message.
    pub fn content(&mut self, field: &str, json: &Json) -> Option<Struct> {
        self.within(field, json, SENT_CONTENT, SENT_CONTENT_KEYS)
    }

    /// Records the name of a field that was omitted or truncated.
    pub fn truncate(&mut self, field: &str) {
        self.truncated.push(field.to_owned());
    }

    /// Returns the names of the fields that were omitted or truncated.
    pub fn truncated(self) -> Vec<String> {
        self.truncated
    }

    fn within(&mut self, field: &str, json: &Json, bytes: usize, keys: usize) -> Option<Struct> {
        let Json::Object(map) = json else { return None };
        if map.is_empty() {
            return None;
        }
        if !is_sent(AttributeSize::of_map(map), bytes, keys) {
            self.truncate(field);
            return None;
        }
        Some(Struct { fields: fields(map) })
    }
}

fn fields(map: &Map<String, Json>) -> BTreeMap<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), value_of(value))).collect()
}

/// Converts a stored JSON value to a Protobuf `Value`.
pub fn value_of(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(*bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(value_of).collect(),
        }),
        Json::Object(map) => Kind::StructValue(Struct { fields: fields(map) }),
    };
    Value { kind: Some(kind) }
}

/// Converts a `Struct` for storage as a JSON object. Whole numbers become integers again.
///
/// # Errors
/// Returns the path of the first number that JSON cannot represent (infinite, or not a number).
pub fn object(structure: &Struct) -> Result<Map<String, Json>, String> {
    structure
        .fields
        .iter()
        .map(|(key, value)| match json_of(value) {
            Ok(json) => Ok((key.clone(), json)),
            Err(path) if path.is_empty() => Err(key.clone()),
            Err(path) => Err(format!("{key}.{path}")),
        })
        .collect()
}

/// Converts a `Value` for storage as a JSON value.
///
/// # Errors
/// Returns the path of the first number that JSON cannot represent. The path is empty if `value` itself is that number.
pub fn json_of(value: &Value) -> Result<Json, String> {
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(bool)) => Json::Bool(*bool),
        Some(Kind::NumberValue(number)) => Json::Number(number_of(*number).ok_or_else(String::new)?),
        Some(Kind::StringValue(text)) => Json::String(text.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(json_of).collect::<Result<_, _>>()?),
        Some(Kind::StructValue(structure)) => Json::Object(object(structure)?),
    })
}

/// Converts a double to a JSON number. A whole number that a double represents exactly becomes an integer.
#[allow(clippy::cast_possible_truncation)] // below 2^53, and without a fraction
fn number_of(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() < EXACT {
        Some(Number::from(number as i64))
    } else {
        Number::from_f64(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn json_value() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i32>().prop_map(Json::from),
            "[a-zé😀]{0,200}".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::btree_map("[a-zé]{0,140}", inner, 0..6).prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn attribute_size_equals_the_encoded_size(map in prop::collection::btree_map("[a-z]{0,8}", json_value(), 0..6)) {
            let map = Json::Object(map.into_iter().collect());
            let encoded = structure(&map).map_or(0, |wire| prost::Message::encoded_len(&wire));
            prop_assert_eq!(attribute_limits::AttributeSize::of(&map).wire, encoded);
        }
    }

    #[test]
    fn whole_numbers_round_trip_as_integers() {
        let json = json!({"n": 3, "x": 0.5, "big": 9_007_199_254_740_991_i64, "list": [1, {"deep": -2}], "none": null});
        let back = object(&structure(&json).unwrap()).unwrap();
        assert_eq!(Json::Object(back), json);
    }

    #[test]
    fn times_beyond_the_timestamp_range_are_rejected() {
        let at = |seconds, nanos| micros(&Timestamp { seconds, nanos });
        assert_eq!(at(-62_135_596_800, 0), Some(Micros::MIN));
        assert_eq!(at(253_402_300_799, 999_999_999), Some(Micros::MAX));
        for seconds in [-62_135_596_801, 253_402_300_800, 1_795_988_101_000, i64::MIN, i64::MAX] {
            assert_eq!(at(seconds, 0), None, "{seconds}");
        }
        assert_eq!((at(0, -1), at(0, 1_000_000_000)), (None, None));
        for (value, beyond) in [
            (json!(1_930_999_100), false),
            (json!("1930999100"), false),
            (json!("2031-03-11"), false),
            (json!(null), false),
            (json!(1_930_999_100_000_i64), true),
            (json!("1930999100000"), true),
            (json!(253_402_300_799.5), false),
            (json!(253_402_300_800_i64), true),
            (json!(-62_135_596_801_i64), true),
        ] {
            assert_eq!(is_beyond_times(&value), beyond, "{value}");
        }
    }

    #[test]
    fn values_json_cannot_represent_are_reported() {
        let inner = Struct {
            fields: [(
                "b".to_owned(),
                Value {
                    kind: Some(Kind::NumberValue(f64::NAN)),
                },
            )]
            .into(),
        };
        let outer = Struct {
            fields: [(
                "a".to_owned(),
                Value {
                    kind: Some(Kind::StructValue(inner)),
                },
            )]
            .into(),
        };
        assert_eq!(object(&outer), Err("a.b".to_owned()));
    }

    proptest! {
        #[test]
        fn times_keep_their_microseconds(at in -62_135_596_800_000_000_i64..253_402_300_799_999_999) {
            prop_assert_eq!(micros(&timestamp(Micros(at))), Some(Micros(at)));
        }

        #[test]
        fn stored_times_are_representable(at in any::<i64>()) {
            prop_assert_eq!(micros(&timestamp(Micros(at))), Some(Micros(at).clamp(Micros::MIN, Micros::MAX)));
        }
    }
}
