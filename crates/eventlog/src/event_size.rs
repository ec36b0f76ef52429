//! Limits the size of events.
//!
//! Because the fields of resources are limited, new events are far smaller than [`EVENT_BYTES`]. The size is nevertheless checked where
//! events are encoded, so that neither a new field nor a row stored before the limits existed can produce an event that a client with
//! default settings cannot receive.

use std::borrow::Cow;

use parley_fault::Protection;
use parley_proto::{
    self as pb, prune,
    value::{is_oversized, timestamp, value_of},
};
use parley_types::{attribute_limits::BYTES, time::Micros};
use prost::Message as _;
use prost_types::{Value, value::Kind};
use serde_json::Value as Json;

use crate::change::Change;

/// Maximum size of an encoded event in bytes: 64 KiB below the 4 MiB that gRPC clients accept by default, because a delivery adds
/// `prev_seq`, a cursor and tags.
pub const EVENT_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Maximum size of all `changes` of an event in bytes. The resource needs the rest: a message in its conversation has up to three text
/// fields of 600 kB.
const CHANGES_BYTES: usize = 1024 * 1024;

/// Converts changes for the wire, with large values truncated and marked. Also returns the names of the incomplete fields of the event.
pub(super) fn changes(changes: &[Change]) -> (Vec<pb::FieldChange>, Vec<String>) {
    let mut bytes = 0;
    let mut sent = Vec::with_capacity(changes.len().min(256));
    for change in changes.iter().map(change) {
        bytes += change.encoded_len();
        if bytes > CHANGES_BYTES && parley_fault::is_on(Protection::EventBytes) {
            return (sent, vec!["changes".to_owned()]);
        }
        sent.push(change);
    }
    (sent, Vec::new())
}

fn change(change: &Change) -> pb::FieldChange {
    let mut truncated_fields = Vec::new();
    let mut value = |name: &str, json: &Json| match truncated(json) {
        Some(truncated) => {
            truncated_fields.push(name.to_owned());
            Some(truncated)
        }
        None => Some(value_of(json)),
    };
    let [time_before, time_after] = change.times.unwrap_or_default();
    pb::FieldChange {
        before: value("before", &change.before),
        after: value("after", &change.after),
        exact_before: exact(&change.before, time_before),
        exact_after: exact(&change.after, time_after),
        field: change.field.clone().into_owned(),
        truncated_fields,
    }
}

/// Returns the exact form of an integer, a time or a list of integers, whose type [`Value`] cannot represent. Returns `None` for any other
/// value, which [`Value`] represents exactly, and for a list that is too large for [`Value`].
fn exact(json: &Json, time: Option<Micros>) -> Option<pb::ExactValue> {
    use pb::exact_value::Kind;
    let kind = match (json, time) {
        (_, Some(at)) => Kind::Time(timestamp(at)),
        (Json::Number(number), None) => Kind::Integer(number.as_i64()?),
        (Json::Array(items), None) if !items.is_empty() && !is_oversized(json) => Kind::Integers(pb::IntegerList {
            values: items.iter().map(Json::as_i64).collect::<Option<_>>()?,
        }),
        _ => return None,
    };
    Some(pb::ExactValue { kind: Some(kind) })
}

/// Returns the replacement for a value that is too large: the beginning of a string, and null for any other type. `None` if the value is
/// not too large.
fn truncated(json: &Json) -> Option<Value> {
    if !is_oversized(json) || !parley_fault::is_on(Protection::EventBytes) {
        return None;
    }
    let kind = match json {
        Json::String(text) => Kind::StringValue(text[..text.floor_char_boundary(BYTES)].to_owned()),
        _ => Kind::NullValue(0),
    };
    Some(Value { kind: Some(kind) })
}

/// Encodes an event. If it is too large, its changes are omitted, and then its resource. Its seq and kind are always delivered, so the
/// chain stays intact.
pub(super) fn encode(event: &mut pb::Event) -> Vec<u8> {
    let payload = event.encode_to_vec();
    if payload.len() <= EVENT_BYTES || !parley_fault::is_on(Protection::EventBytes) {
        return payload;
    }
    tracing::error!(
        account_id = event.account_id,
        seq = event.seq,
        kind = event.kind_name,
        bytes = payload.len(),
        "an event exceeds the size limit; storing it without its changes and, if necessary, without its resource"
    );
    event.changes = Vec::new();
    event.truncated_fields = vec!["changes".to_owned()];
    if event.encoded_len() > EVENT_BYTES {
        event.resource = None;
        event.truncated_fields.push("resource".to_owned());
    }
    event.encode_to_vec()
}

/// Returns a stored event as clients receive it. Oversized data that was stored before the limits existed is pruned. Events within the
/// limits, which include all new ones, are not copied.
pub(super) fn received(payload: Vec<u8>) -> Vec<u8> {
    let pruned = match prune::event(&payload) {
        Cow::Owned(pruned) => Some(pruned),
        Cow::Borrowed(_) => None,
    };
    let pruned = pruned.unwrap_or(payload);
    if pruned.len() <= EVENT_BYTES {
        return pruned;
    }
    match pb::Event::decode(pruned.as_slice()) {
        Ok(mut event) => encode(&mut event),
        Err(_) => pruned,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn changed(before: Json, after: Json) -> Change {
        Change {
            field: "content".into(),
            before,
            after,
            times: None,
        }
    }

    #[test]
    fn large_values_are_truncated_and_marked() {
        let (sent, incomplete) = changes(&[changed(json!("😀".repeat(150_000)), json!({"a": "x".repeat(BYTES)}))]);
        assert!(incomplete.is_empty());
        assert_eq!(sent[0].truncated_fields, ["before", "after"]);
        assert_eq!(
            sent[0].before.clone().and_then(|value| value.kind),
            Some(Kind::StringValue("😀".repeat(BYTES / 4)))
        );
        assert_eq!(sent[0].after.clone().and_then(|value| value.kind), Some(Kind::NullValue(0)));
        let (sent, _) = changes(&[changed(json!("open"), json!("resolved"))]);
        assert!(sent[0].truncated_fields.is_empty());
    }

    #[test]
    fn integers_and_times_keep_their_type() {
        use pb::exact_value::Kind as Exact;
        let exact = |before: Json, after: Json| {
            let (sent, _) = changes(&[changed(before, after)]);
            let [change] = &sent[..] else { panic!("{sent:?}") };
            let kind = |value: &Option<pb::ExactValue>| value.as_ref().and_then(|value| value.kind.clone());
            (kind(&change.exact_before), kind(&change.exact_after))
        };
        // A double can represent neither of these.
        assert_eq!(
            exact(json!(9_007_199_254_740_993_i64), json!(i64::MAX)),
            (Some(Exact::Integer(9_007_199_254_740_993)), Some(Exact::Integer(i64::MAX)))
        );
        let members = Exact::Integers(pb::IntegerList { values: vec![7, i64::MIN] });
        assert_eq!(exact(json!(null), json!([7, i64::MIN])), (None, Some(members)));
        for other in [json!("7"), json!(0.5), json!([]), json!([1, "2"]), json!({"a": 1}), json!(true)] {
            assert_eq!(exact(other.clone(), json!("x")), (None, None), "{other}");
        }
        let at = Micros(1_931_000_100_412_345);
        let (sent, _) = changes(&[Change::time("snoozed_until", None, Some(at)).unwrap()]);
        assert_eq!(sent[0].exact_before, None);
        let sent = sent[0].exact_after.as_ref().and_then(|value| value.kind.clone());
        assert_eq!(sent, Some(Exact::Time(timestamp(at))));
    }

    proptest! {
        #[test]
        fn changes_stay_within_their_budget(count in 0..60_usize, length in 0..200_000_usize, key in 1..3000_usize) {
            let all: Vec<Change> = (0..count)
                .map(|nth| Change { field: "k".repeat(key).into(), before: json!(nth), after: json!("x".repeat(length)), times: None })
                .collect();
            let (sent, incomplete) = changes(&all);
            prop_assert!(sent.iter().map(prost::Message::encoded_len).sum::<usize>() <= CHANGES_BYTES);
            prop_assert_eq!(incomplete.is_empty(), sent.len() == count);
        }
    }

    #[test]
    fn oversized_event_keeps_its_seq() {
        let label = |bytes: usize| {
            pb::event::Resource::Label(pb::Label {
                description: Some("x".repeat(bytes)),
                ..pb::Label::default()
            })
        };
        for (resource, changes, lost) in [
            (label(10), 10, vec![]),
            (label(10), 5_000_000, vec!["changes"]),
            (label(5_000_000), 10, vec!["changes", "resource"]),
        ] {
            let mut event = pb::Event {
                seq: 7,
                kind_name: "label.updated".to_owned(),
                changes: vec![pb::FieldChange {
                    field: "x".repeat(changes),
                    ..pb::FieldChange::default()
                }],
                resource: Some(resource),
                ..pb::Event::default()
            };
            let payload = encode(&mut event);
            assert!(payload.len() <= EVENT_BYTES);
            let read = pb::Event::decode(payload.as_slice()).unwrap();
            assert_eq!((read.seq, read.kind_name.as_str()), (7, "label.updated"));
            assert_eq!(read.truncated_fields, lost);
            assert_eq!(read.resource.is_some(), !lost.contains(&"resource"));
        }
    }
}
