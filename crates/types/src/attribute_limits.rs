//! Limits on attribute maps, the free-form JSON objects of contacts, conversations, inboxes, accounts, users, messages and attachments.
//!
//! Every API applies the same limits. `parley_grpc` checks the maps in a request; a `parley_domain` command that merges a request into a
//! stored map checks the result. With these limits, no resource and no event exceeds what a gRPC client with default settings accepts: 4
//! MiB and 100 levels of nesting, three of which are used by each object in a `google.protobuf.Struct`.

use parley_fault::Protection;
use serde_json::{Map, Value as Json};

use crate::error::{Error, FieldViolation, Result, Rule};

/// Maximum size of a map in bytes, encoded as JSON or as `google.protobuf.Struct`, whichever is larger.
pub const BYTES: usize = 64 * 1024;

/// Maximum number of keys of a map, including those of nested objects. Elements of lists do not count.
pub const KEYS: usize = 250;

/// Maximum nesting depth of objects and lists, counting the map itself.
pub const LEVELS: usize = 24;

/// The size of an attribute map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeSize {
    /// Size in bytes of the JSON text without whitespace.
    pub json: usize,
    /// Size in bytes of the encoded `google.protobuf.Struct`, or of the encoded `google.protobuf.Value` if the JSON is not an object.
    pub wire: usize,
    /// Number of keys, including those of nested objects.
    pub keys: usize,
    /// Levels of nesting; 0 for a value that is neither an object nor a list.
    pub levels: usize,
}

impl AttributeSize {
    /// Measures an attribute map or any other JSON value, in time linear in its size.
    pub fn of(attributes: &Json) -> Self {
        match attributes {
            Json::Object(map) => Self::of_map(map),
            value => Self::of_value(value),
        }
    }

    /// Measures an attribute map, in time linear in its size.
    pub fn of_map(map: &Map<String, Json>) -> Self {
        let mut whole = Self {
            json: 2,
            levels: 1,
            ..Self::default()
        };
        for (key, value) in map {
            whole.add(Self::of_entry(key, value));
        }
        // Each entry was counted with a trailing comma, but the last entry has none.
        whole.json -= usize::from(!map.is_empty());
        whole
    }

    /// Returns the size in bytes: the larger of the two encodings.
    pub fn bytes(self) -> usize {
        self.json.max(self.wire)
    }

    /// Whether the size is within all limits.
    pub fn fits(self) -> bool {
        self.bytes() <= BYTES && self.keys <= KEYS && self.levels <= LEVELS
    }

    /// Returns the size that an entry adds to a map.
    fn of_entry(key: &str, value: &Json) -> Self {
        let inner = Self::of_value(value);
        Self {
            json: json_text(key) + 1 + inner.json + 1,
            // An empty key is the default value of its protobuf field, and the encoding omits default values.
            wire: field(if key.is_empty() { 0 } else { field(key.len()) } + field(inner.wire)),
            keys: 1 + inner.keys,
            levels: 1 + inner.levels,
        }
    }

    fn of_value(value: &Json) -> Self {
        let leaf = |json, wire| Self {
            json,
            wire,
            ..Self::default()
        };
        match value {
            Json::Null => leaf(4, 2),
            Json::Bool(bool) => leaf(5 - usize::from(*bool), 2),
            Json::Number(number) => leaf(number.to_string().len(), 9),
            Json::String(text) => leaf(json_text(text), field(text.len())),
            Json::Array(items) => {
                let mut whole = Self {
                    json: 2 - usize::from(!items.is_empty()),
                    levels: 1,
                    ..Self::default()
                };
                for item in items {
                    let inner = Self::of_value(item);
                    whole.add(Self {
                        json: inner.json + 1,
                        wire: field(inner.wire),
                        keys: inner.keys,
                        levels: 1 + inner.levels,
                    });
                }
                whole.wire = field(whole.wire);
                whole
            }
            Json::Object(map) => {
                let whole = Self::of_map(map);
                Self {
                    wire: field(whole.wire),
                    ..whole
                }
            }
        }
    }

    fn add(&mut self, part: Self) {
        self.json += part.json;
        self.wire += part.wire;
        self.keys += part.keys;
        self.levels = self.levels.max(part.levels);
    }
}

/// Returns the encoded size in bytes of a length-delimited protobuf field with `length` bytes of content. The field number must be below
/// 16, so that the tag takes one byte.
fn field(length: usize) -> usize {
    let varint = (usize::BITS - (length | 1).leading_zeros()).div_ceil(7);
    1 + varint as usize + length
}

/// Returns the size of a JSON string in bytes, including quotes and escapes.
fn json_text(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

/// Returns a violation if a map of this size exceeds a limit. `field` names the map in the request.
pub fn violation(field: &str, size: AttributeSize) -> Option<FieldViolation> {
    if !parley_fault::is_on(Protection::AttributeLimits) {
        None
    } else if size.levels > LEVELS {
        let text = format!("must be nested at most {LEVELS} levels deep");
        Some(FieldViolation::new(field, Rule::Invalid, text))
    } else if size.bytes() > BYTES {
        let text = format!("must have at most {BYTES} bytes encoded");
        Some(FieldViolation::new(field, Rule::TooLong(BYTES), text))
    } else if size.keys > KEYS {
        let text = format!("must have at most {KEYS} keys, those of nested objects included");
        Some(FieldViolation::new(field, Rule::TooMany(KEYS), text))
    } else {
        None
    }
}

/// Checks a map that replaces or extends a stored one. A map that exceeds a limit is accepted if it is unchanged, or if it shrinks: fewer
/// bytes, and no more keys or levels than before. A map that was stored before the limits existed can thus be repaired step by step.
///
/// # Errors
/// Returns [`Error::Invalid`] for `field` if the map is not accepted.
pub fn check_change(field: &str, before: &Json, after: &Json) -> Result<()> {
    let size = AttributeSize::of(after);
    let Some(violation) = violation(field, size) else { return Ok(()) };
    let stored = AttributeSize::of(before);
    let shrinks = size.bytes() < stored.bytes() && size.keys <= stored.keys && size.levels <= stored.levels;
    if shrinks || before == after {
        Ok(())
    } else {
        Err(Error::Invalid(vec![violation]))
    }
}

/// Merges `from` into `to`: at every depth, adds the values that `to` lacks, as far as the limits allow. The top-level entries of `from`
/// are merged in order, and an entry that would exceed a limit is skipped. If `to` already exceeds the limits, it stays unchanged.
pub fn merge_missing(to: &mut Json, from: &Json) {
    let (Json::Object(to), Json::Object(from)) = (to, from) else {
        return;
    };
    let mut size = AttributeSize::of_map(to);
    for (key, value) in from {
        let stored = to.get(key);
        let mut filled = stored.cloned().unwrap_or_else(|| value.clone());
        if stored.is_some() {
            merge_missing_value(&mut filled, value);
        }
        let added = AttributeSize::of_entry(key, &filled);
        let replaced = stored.map(|stored| AttributeSize::of_entry(key, stored)).unwrap_or_default();
        let whole = AttributeSize {
            json: size.json + added.json - replaced.json,
            wire: size.wire + added.wire - replaced.wire,
            keys: size.keys + added.keys - replaced.keys,
            levels: size.levels.max(added.levels),
        };
        if whole.fits() {
            size = whole;
            to.insert(key.clone(), filled);
        }
    }
}

fn merge_missing_value(to: &mut Json, from: &Json) {
    let (Json::Object(to), Json::Object(from)) = (to, from) else {
        return;
    };
    for (key, value) in from {
        match to.get_mut(key) {
            Some(inner) => merge_missing_value(inner, value),
            None => drop(to.insert(key.clone(), value.clone())),
        }
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
            any::<f32>().prop_map(|number| json!(f64::from(number))),
            "[a-z\"\\\\\\n\u{1}\u{7f}é😀]{0,200}".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::btree_map("[a-zé\"]{0,140}", inner, 0..6).prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn size_equals_the_json_length(map in prop::collection::btree_map("[a-z]{0,8}", json_value(), 0..6)) {
            let map = Json::Object(map.into_iter().collect());
            let size = AttributeSize::of(&map);
            prop_assert_eq!(size.json, map.to_string().len());
        }

        #[test]
        fn merge_never_exceeds_a_limit(to in json_value(), from in json_value(), long in 0..70_000_usize) {
            let mut to = json!({"to": to, "long": "x".repeat(long)});
            let before = to.clone();
            merge_missing(&mut to, &json!({"from": from, "to": {"a": 1}, "text": "y".repeat(60_000)}));
            prop_assert!(AttributeSize::of(&to).fits() || to == before);
            prop_assert_eq!(&to["long"], &before["long"]);
        }
    }

    fn nested(levels: usize) -> Json {
        (1..levels).fold(json!({"a": 1}), |inner, _| json!({ "a": inner }))
    }

    #[test]
    fn each_limit_is_inclusive() {
        let keys = |count: usize| Json::Object((0..count).map(|nth| (format!("k{nth}"), Json::Null)).collect());
        // The overhead of a string of at least 16 KiB: the key `a`, and the tags and lengths of the string, the value and the entry.
        let text = |bytes: usize| json!({"a": "x".repeat(bytes - 15)});
        assert_eq!(AttributeSize::of(&text(BYTES)).bytes(), BYTES);
        for (within, beyond) in [
            (keys(KEYS), keys(KEYS + 1)),
            (nested(LEVELS), nested(LEVELS + 1)),
            (text(BYTES), text(BYTES + 1)),
        ] {
            assert!(check_change("attributes", &Json::Null, &within).is_ok());
            assert!(check_change("attributes", &Json::Null, &beyond).is_err());
        }
        let nested_keys = json!({"a": keys(KEYS - 1)});
        assert!(AttributeSize::of(&nested_keys).fits());
        assert!(!AttributeSize::of(&json!({"a": keys(KEYS)})).fits());
    }

    #[test]
    fn oversized_map_must_not_grow() {
        let map = |bytes: usize| json!({"a": "x".repeat(bytes), "b": 1});
        let before = map(200_000);
        assert!(check_change("attributes", &before, &before).is_ok());
        assert!(check_change("attributes", &before, &map(199_999)).is_ok());
        assert!(check_change("attributes", &before, &map(200_001)).is_err());
        let other = json!({"a": "x".repeat(199_000), "b": 1, "c": 1});
        assert!(check_change("attributes", &before, &other).is_err(), "it must not gain keys");
    }

    #[test]
    fn merge_keeps_existing_values() {
        let mut base = json!({"plan": "gold", "address": {"city": "Porto"}, "tags": [1], "none": null});
        merge_missing(
            &mut base,
            &json!({"plan": "basic", "address": {"city": "Lyon", "zip": "1"}, "tags": [2], "none": 3, "new": {"a": 1}}),
        );
        assert_eq!(
            base,
            json!({"plan": "gold", "address": {"city": "Porto", "zip": "1"}, "tags": [1], "none": null, "new": {"a": 1}})
        );
    }
}
