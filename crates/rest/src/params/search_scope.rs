//! Parameters that narrow a search: inbox and contact, and for messages also author and time.

use parley_proto::{self as pb, MessageType};
use prost_types::Timestamp;

use crate::{
    errors::field_error::FieldError,
    json::values::Id,
    openapi::RouteDescription,
    params::{fields::ParamReader, timestamps},
};

/// Describes the parameters that narrow a search for conversations.
pub fn of_conversations(description: RouteDescription) -> RouteDescription {
    description.query::<Id>("inbox_id").query::<Id>("contact_id")
}

/// Describes the parameters that narrow a search for messages.
pub fn of_messages(description: RouteDescription) -> RouteDescription {
    of_conversations(description)
        .query::<String>("from")
        .query::<i64>("since")
        .query::<i64>("until")
}

/// Conditions that narrow a search for conversations or messages.
#[derive(Clone, Debug, Default)]
pub struct SearchScope {
    pub inbox_ids: Vec<i64>,
    pub contact_id: Option<i64>,
    /// The id of the contact who wrote the messages; only contacts can be searched for as authors.
    from: Option<i64>,
    since: Option<Timestamp>,
    /// The end of the time range. Exclusive, unlike the parameter `until`, from which it is computed.
    before: Option<Timestamp>,
}

impl SearchScope {
    /// Parses the parameters. Violations are added to `fields`.
    pub fn read(fields: &mut ParamReader<'_>) -> Self {
        let from = fields.text("from").filter(|from| !from.trim().is_empty());
        let contact = from.as_deref().and_then(|from| from.trim().strip_prefix("contact:")?.parse().ok());
        if from.is_some() && contact.is_none() {
            fields.add_error(FieldError::new("from", "must be contact:ID"));
        }
        Self {
            inbox_ids: fields.id("inbox_id").into_iter().collect(),
            contact_id: fields.id("contact_id"),
            from: contact,
            since: fields.time("since", timestamps::from_unix),
            before: fields.time("until", timestamps::from_unix).map(|until| Timestamp {
                seconds: until.seconds.saturating_add(1),
                ..until
            }),
        }
    }

    /// Adds the conditions to a search for messages. If `contact_id` and `from` name different contacts, the search finds nothing.
    pub fn apply(&self, request: &mut pb::SearchMessagesRequest) {
        request.inbox_ids.clone_from(&self.inbox_ids);
        request.contact_id = match (self.contact_id, self.from) {
            (Some(contact), Some(from)) if contact != from => Some(i64::MAX),
            (contact, from) => contact.or(from),
        };
        if self.from.is_some() {
            request.types = vec![MessageType::Incoming.into()];
        }
        (request.created_since, request.created_before) = (self.since, self.before);
    }
}
