//! What others than subscribers ask of stored events.

use parley_proto::{self as pb, event::Resource};
use prost::Message as _;

/// The message that an event tells of, if it tells of a new content.
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
