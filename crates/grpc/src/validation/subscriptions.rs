//! Validates the fields that `Subscribe` requests and a consumer's `open` message have in common: start, filter and heartbeat.

use std::time::Duration;

use parley_domain::auth::caller::{Access, ContactScope};
use parley_eventlog::{cursor::Cursor, filter::Filter, subscription::Start};
use parley_proto::{self as pb, subscribe_request};
use parley_types::{
    error::{Result, Rule},
    id::{ContactId, ConversationId, InboxId},
};
use prost_types::Duration as WireDuration;

use super::fields::Validator;

/// Maximum number of entries in each list of a filter.
const LIST: usize = 1000;

/// Converts the start of a subscription. Without a start, the subscription begins at the head of the log.
///
/// # Errors
/// Returns [`parley_types::error::Error::Invalid`] if a cursor cannot be decoded.
pub fn start(fields: &mut Validator, start: Option<&subscribe_request::Start>) -> Result<Start> {
    use subscribe_request::Start as Requested;
    Ok(match start {
        None | Some(Requested::Latest(())) => Start::Latest,
        Some(Requested::Earliest(())) => Start::Earliest,
        Some(Requested::After(cursor)) => Start::After(Cursor::decode("after", cursor)?),
        Some(Requested::At(time)) => Start::At(fields.time("at", Some(time)).unwrap_or_default()),
        Some(Requested::Snapshot(())) => Start::Snapshot,
    })
}

/// Converts a filter and restricts it to the data that the caller may access.
pub fn filter(fields: &mut Validator, requested: pb::EventFilter, access: &Access) -> Filter {
    fields.within("filter", |fields| {
        fields.count("kinds", requested.kinds.len(), 100);
        for (field, list) in [
            ("inbox_ids", &requested.inbox_ids),
            ("conversation_ids", &requested.conversation_ids),
            ("contact_ids", &requested.contact_ids),
        ] {
            fields.count(field, list.len(), LIST);
        }
        let mut kinds = Vec::new();
        for kind in &requested.kinds {
            match pb::EventKind::try_from(*kind) {
                Ok(known) if known != pb::EventKind::Unspecified => kinds.extend(i16::try_from(*kind)),
                _ => fields.add_violation(
                    "kinds",
                    Rule::Unknown,
                    format!("must be kinds that the contract defines; {kind} is not one of them"),
                ),
            }
        }
        let mut message_types = Vec::new();
        for number in &requested.message_types {
            match pb::MessageType::try_from(*number).ok().and_then(pb::MessageType::to_row) {
                Some(known) => message_types.push(known),
                None => fields.add_violation(
                    "message_types",
                    Rule::Unknown,
                    format!("must be types that the contract defines; {number} is not one of them"),
                ),
            }
        }
        Filter {
            kinds,
            inboxes: requested.inbox_ids.into_iter().map(InboxId).collect(),
            conversations: requested.conversation_ids.into_iter().map(ConversationId).collect(),
            contacts: requested.contact_ids.into_iter().map(ContactId).collect(),
            merges: false,
            message_types,
            private: requested.private,
            scope: access.inboxes.clone(),
            own_contacts: access.contact_inboxes().is_some(),
            inboxes_only: access.contacts == ContactScope::Conversations,
            shard: None,
        }
    })
}

/// Validates the heartbeat interval of an idle stream. `None` selects the default.
pub fn heartbeat(fields: &mut Validator, requested: Option<&WireDuration>) -> Option<Duration> {
    let requested = requested?;
    let heartbeat = Duration::try_from(*requested)
        .ok()
        .filter(|heartbeat| (1..=60).contains(&heartbeat.as_secs()) && heartbeat.as_secs_f64() <= 60.0);
    if heartbeat.is_none() {
        fields.add_violation(
            "heartbeat",
            Rule::OutOfRange(if requested.seconds < 1 { 1 } else { 60 }),
            "must be between 1 and 60 seconds",
        );
    }
    heartbeat
}
