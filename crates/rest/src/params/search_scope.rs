//! Parameters that narrow a search: by inbox and contact; for messages also by author and time.

use parley_proto::{self as pb, MessageType};
use prost_types::Timestamp;

use crate::{
    errors::field_error::FieldError,
    json::values::Id,
    openapi::RouteDescription,
    params::{fields::ParamReader, timestamps},
};

/// Adds the parameters that narrow a search for conversations.
pub fn of_conversations(description: RouteDescription) -> RouteDescription {
    description.query::<Id>("inbox_id").query::<Id>("contact_id")
}

/// Adds the parameters that narrow a search for messages.
pub fn of_messages(description: RouteDescription) -> RouteDescription {
    of_conversations(description)
        .query::<String>("from")
        .query::<i64>("since")
        .query::<i64>("until")
}

/// Restricts which conversations and messages are searched.
#[derive(Clone, Debug, Default)]
pub struct SearchScope {
    pub inbox_ids: Vec<i64>,
    pub contact_id: Option<i64>,
    /// The author of the messages, always a contact.
    from: Option<i64>,
    since: Option<Timestamp>,
    /// Exclusive, unlike the parameter `until`.
    before: Option<Timestamp>,
}

impl SearchScope {
    /// Parses the parameters. Violations are collected in `fields`.
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

    /// Adds the conditions to a search for messages. A search for two different contacts finds nothing.
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
