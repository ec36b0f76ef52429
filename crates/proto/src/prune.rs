//! Prunes events that were stored before fields were limited, so that clients can receive them.
//!
//! An event that contains an attribute map with 33 levels cannot be decoded by prost, and an event that contains a map of several megabytes
//! is rejected by clients with default settings. Such an event stays in the log until it is trimmed, so it is pruned whenever it is read:
//! maps beyond the limits are omitted and named in `truncated_fields`, and times outside of the years 1 to 9999, which clients cannot
//! render as JSON, become the nearest valid time. The code walks the encoded bytes according to the contract's descriptors, because an
//! event with too many levels cannot be decoded.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use parley_types::{
    attribute_limits::{BYTES, KEYS},
    time::Micros,
};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, message},
};
use prost_types::{FileDescriptorSet, Timestamp, field_descriptor_proto::Type};

use super::value::{SENT_CONTENT, SENT_CONTENT_KEYS, SENT_LEVELS, micros, timestamp};

/// Maximum depth to which the nested messages of an event are walked. The deepest message of the contract has fewer levels, not counting
/// attributes.
const DEPTH: usize = 20;

/// The message-typed fields of a message, with the field number, name and type of each.
#[derive(Default)]
struct Schema {
    fields: HashMap<u64, (String, String)>,
    /// The field number of `truncated_fields`.
    truncated: Option<u32>,
}

static SCHEMAS: LazyLock<HashMap<String, Schema>> = LazyLock::new(|| {
    // The descriptors are compiled into the program. If they could not be decoded, every test would fail.
    let files = FileDescriptorSet::decode(super::DESCRIPTORS).unwrap_or_default();
    let mut schemas = HashMap::new();
    for file in &files.file {
        for message in &file.message_type {
            let mut schema = Schema::default();
            for field in &message.field {
                let number = u32::try_from(field.number()).unwrap_or_default();
                if field.name() == "truncated_fields" {
                    schema.truncated = Some(number);
                }
                if field.r#type() == Type::Message {
                    let inner = field.type_name().trim_start_matches('.').to_owned();
                    schema.fields.insert(number.into(), (field.name().to_owned(), inner));
                }
            }
            schemas.insert(format!("{}.{}", file.package(), message.name()), schema);
        }
    }
    schemas
});

/// One field of an encoded message.
struct Field<'a> {
    number: u64,
    /// The key and the value of the field, in their encoded form.
    whole: &'a [u8],
    /// The content of the field, if it is length-delimited.
    content: Option<&'a [u8]>,
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Reads the next field. Returns `None` at the end of the bytes, or if the bytes are not an encoded message.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *bytes;
    let key = varint(bytes)?;
    let mut content = None;
    let fixed = match key & 7 {
        0 => {
            varint(bytes)?;
            0
        }
        1 => 8,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            content = Some(bytes.get(..length)?);
            length
        }
        5 => 4,
        _ => return None,
    };
    *bytes = bytes.get(fixed..)?;
    Some(Field {
        number: key >> 3,
        whole: &start[..start.len() - bytes.len()],
        content,
    })
}

/// The number of levels and keys of a `Struct` or a `Value`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    levels: usize,
    /// The total number of keys, including those of nested objects.
    keys: usize,
}

impl Shape {
    fn add(&mut self, inner: &Self) {
        self.levels = self.levels.max(inner.levels);
        self.keys += inner.keys;
    }

    /// Returns the shape of the value enclosed in one more level.
    fn within(self) -> Self {
        Self {
            levels: 1 + self.levels,
            ..self
        }
    }
}

/// Measures a `Struct` or a `Value`, down to a depth of `left` levels.
fn shape(mut bytes: &[u8], is_value: bool, left: usize) -> Shape {
    let mut whole = Shape::default();
    if left == 0 {
        return whole;
    }
    whole.levels = usize::from(!is_value);
    while let Some(field) = next(&mut bytes) {
        let Some(content) = field.content else { continue };
        match (is_value, field.number) {
            // In a `Value`, field 5 is a `Struct` and field 6 is a list of values.
            (true, 5) => whole.add(&shape(content, false, left)),
            (true, 6) => whole.add(&values(content, 1, left - 1).within()),
            (false, 1) => {
                whole.keys += 1;
                whole.add(&values(content, 2, left - 1).within());
            }
            _ => {}
        }
    }
    whole
}

/// Measures the values in a list (field 1) or in an entry of a `Struct` (field 2).
fn values(mut bytes: &[u8], number: u64, left: usize) -> Shape {
    let mut whole = Shape::default();
    while let Some(field) = next(&mut bytes) {
        if let Some(value) = field.content.filter(|_| field.number == number) {
            whole.add(&shape(value, true, left));
        }
    }
    whole
}

fn is_oversized(name: &str, of: &str, content: &[u8]) -> bool {
    let is_value = of == "google.protobuf.Value";
    let (bytes, keys) = match name {
        "content_attributes" => (SENT_CONTENT, SENT_CONTENT_KEYS),
        // A change to a message's content attributes contains the content attributes as a single value.
        _ if is_value => (BYTES, SENT_CONTENT_KEYS),
        _ => (BYTES, KEYS),
    };
    // Allow 8 bytes more, because a string that was truncated to the limit also has a tag and a length.
    if content.len() > bytes + 8 {
        return true;
    }
    let shape = shape(content, is_value, SENT_LEVELS + 1);
    shape.levels > SENT_LEVELS || shape.keys > keys
}

/// Returns the nearest time that clients can render, or `None` if they can render the encoded `Timestamp` as it is.
fn clamped(content: &[u8]) -> Option<Timestamp> {
    let at = Timestamp::decode(content).ok()?;
    if micros(&at).is_some() {
        return None;
    }
    let is_early = at.seconds < Micros::MIN.seconds();
    Some(timestamp(if is_early { Micros::MIN } else { Micros::MAX }))
}

/// Returns the message without maps that exceed the limits, and with only times that clients can render. The result is borrowed if nothing
/// changed.
fn pruned<'a>(of: &str, bytes: &'a [u8], depth: usize) -> Cow<'a, [u8]> {
    let Some(schema) = SCHEMAS.get(of).filter(|_| depth > 0) else {
        return Cow::Borrowed(bytes);
    };
    let (mut rest, mut out, mut omitted) = (bytes, None::<Vec<u8>>, Vec::new());
    let copied = |rest: &[u8]| bytes[..bytes.len() - rest.len()].to_vec();
    loop {
        let before = rest;
        let Some(field) = next(&mut rest) else { break };
        let inner = field.content.and_then(|content| {
            schema
                .fields
                .get(&field.number)
                .map(|(name, inner)| (name, inner.as_str(), content))
        });
        match inner {
            Some((name, inner @ ("google.protobuf.Struct" | "google.protobuf.Value"), content)) => {
                if is_oversized(name, inner, content) {
                    out.get_or_insert_with(|| copied(before));
                    omitted.push(name);
                } else if let Some(out) = &mut out {
                    out.extend_from_slice(field.whole);
                }
            }
            Some((_, "google.protobuf.Timestamp", content)) => match clamped(content) {
                Some(at) => {
                    let out = out.get_or_insert_with(|| copied(before));
                    // The conversion cannot fail: the field numbers come from the contract.
                    message::encode(u32::try_from(field.number).unwrap_or_default(), &at, out);
                }
                None => {
                    if let Some(out) = &mut out {
                        out.extend_from_slice(field.whole);
                    }
                }
            },
            Some((_, inner, content)) => match pruned(inner, content, depth - 1) {
                Cow::Owned(smaller) => {
                    let out = out.get_or_insert_with(|| copied(before));
                    // The conversion cannot fail: the field numbers come from the contract.
                    encode_key(u32::try_from(field.number).unwrap_or_default(), WireType::LengthDelimited, out);
                    encode_varint(smaller.len() as u64, out);
                    out.extend_from_slice(&smaller);
                }
                Cow::Borrowed(_) => {
                    if let Some(out) = &mut out {
                        out.extend_from_slice(field.whole);
                    }
                }
            },
            None => {
                if let Some(out) = &mut out {
                    out.extend_from_slice(field.whole);
                }
            }
        }
    }
    let Some(mut out) = out else { return Cow::Borrowed(bytes) };
    if let Some(number) = schema.truncated {
        for name in omitted {
            encode_key(number, WireType::LengthDelimited, &mut out);
            encode_varint(name.len() as u64, &mut out);
            out.extend_from_slice(name.as_bytes());
        }
    }
    Cow::Owned(out)
}

/// Prunes an encoded `parley.v1.Event`. The result is borrowed if nothing changed.
pub fn event(payload: &[u8]) -> Cow<'_, [u8]> {
    pruned("parley.v1.Event", payload, DEPTH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate as pb;
    use crate::{event::Resource, value::structure};
    use parley_types::attribute_limits::{AttributeSize, LEVELS};

    fn event_of(custom_attributes: &Json, content_attributes: &Json) -> pb::Event {
        let contact = pb::Contact {
            id: 7,
            name: "Asha".to_owned(),
            custom_attributes: structure(custom_attributes),
            version: 9,
            ..pb::Contact::default()
        };
        let message = pb::Message {
            id: 3,
            content: Some("hi".to_owned()),
            content_attributes: structure(content_attributes),
            number: 4,
            ..pb::Message::default()
        };
        pb::Event {
            event_id: "e".to_owned(),
            seq: 5,
            changes: vec![pb::FieldChange {
                field: "custom_attributes.a".to_owned(),
                before: Some(pb::value::value_of(custom_attributes)),
                after: Some(pb::value::value_of(&json!(1))),
                ..pb::FieldChange::default()
            }],
            resource: Some(Resource::Message(pb::MessageResource {
                message: Some(message),
                conversation: Some(pb::Conversation {
                    contact: Some(contact),
                    message_count: 1,
                    ..pb::Conversation::default()
                }),
                ..pb::MessageResource::default()
            })),
            ..pb::Event::default()
        }
    }

    fn nested(levels: usize) -> Json {
        (1..levels).fold(json!({"a": 1}), |inner, _| json!({ "a": inner }))
    }

    fn keys(count: usize) -> Json {
        Json::Object((0..count).map(|nth| (format!("k{nth}"), Json::Null)).collect())
    }

    #[test]
    fn oversized_maps_are_omitted_and_reported() {
        for map in [
            nested(33),
            nested(60),
            json!({"a": "x".repeat(BYTES)}),
            json!({"a": [[[nested(30)]]]}),
            keys(SENT_CONTENT_KEYS + 1),
            json!({"a": [{"b": keys(SENT_CONTENT_KEYS)}]}),
        ] {
            let payload = event_of(&map, &json!({"items": [1]})).encode_to_vec();
            let read = pb::Event::decode(event(&payload).as_ref()).expect("it can be decoded");
            assert_eq!((read.event_id.as_str(), read.seq), ("e", 5));
            assert_eq!(read.changes[0].truncated_fields, ["before"]);
            assert_eq!(read.changes[0].before, None);
            let Some(Resource::Message(resource)) = read.resource else {
                panic!("a message")
            };
            let message = resource.message.unwrap();
            assert_eq!((message.content(), message.truncated_fields.len()), ("hi", 0));
            let conversation = resource.conversation.unwrap();
            assert_eq!(conversation.message_count, 1);
            let contact = conversation.contact.unwrap();
            assert_eq!((contact.id, contact.name.as_str(), contact.version), (7, "Asha", 9));
            assert_eq!(
                (contact.custom_attributes, contact.truncated_fields),
                (None, vec!["custom_attributes".to_owned()])
            );
        }
    }

    #[test]
    fn unrepresentable_times_are_clamped() {
        for (seconds, sent) in [
            (1_795_988_101_000, 253_402_300_799),
            (253_402_300_800, 253_402_300_799),
            (-62_135_596_801, -62_135_596_800),
        ] {
            let mut stored = event_of(&json!({}), &json!({}));
            stored.occurred_at = Some(Timestamp { seconds: 7, nanos: 5 });
            let Some(Resource::Message(resource)) = &mut stored.resource else {
                panic!("a message")
            };
            let conversation = resource.conversation.get_or_insert_default();
            conversation.snoozed_until = Some(Timestamp { seconds, nanos: 0 });
            let payload = stored.encode_to_vec();
            let read = pb::Event::decode(event(&payload).as_ref()).expect("it can be decoded");
            let Some(Resource::Message(resource)) = &read.resource else {
                panic!("a message")
            };
            let conversation = resource.conversation.as_ref().expect("it was there");
            assert_eq!(conversation.snoozed_until.map(|at| at.seconds), Some(sent));
            // Nothing else has changed.
            let Some(Resource::Message(resource)) = &mut stored.resource else {
                panic!("a message")
            };
            resource.conversation.get_or_insert_default().snoozed_until = conversation.snoozed_until;
            assert_eq!(read, stored);
        }
    }

    #[test]
    fn maps_within_the_limits_are_unchanged() {
        for map in [
            nested(LEVELS),
            json!({"a": "x".repeat(60_000)}),
            json!({"list": [[1], {"b": null}]}),
            keys(KEYS),
        ] {
            assert!(AttributeSize::of(&map).fits());
            let payload = event_of(&map, &map).encode_to_vec();
            assert!(matches!(event(&payload), Cow::Borrowed(_)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = event(&bytes);
        }

        #[test]
        fn nesting_is_counted_as_on_write(levels_of in 1..24_usize, list in any::<bool>()) {
            let map = (1..levels_of).fold(json!({"a": 1}), |inner, _| if list { json!({"a": [inner]}) } else { json!({ "a": inner }) });
            let wire = structure(&map).unwrap().encode_to_vec();
            let size = AttributeSize::of(&map);
            prop_assert_eq!(shape(&wire, false, 100), Shape { levels: size.levels, keys: size.keys });
        }
    }
}
