//! Extracts information from stored event payloads for the search index, which is not a subscriber.

use parley_proto::{self as pb, event::Resource};
use prost::Message as _;

/// Returns the id of the event's message if the event changed the content of that message. Returns `None` for every other event and for a
/// payload that cannot be decoded.
pub fn new_content(payload: &[u8]) -> Option<i64> {
    let event = pb::Event::decode(payload).ok()?;
    if !event.changes.iter().any(|change| change.field == "content") {
        return None;
    }
    match event.resource? {
        Resource::Message(about) => about.message.map(|message| message.id),
        _ => None,
    }
}
