//! Parameters that narrow a search: by inbox, by contact, and messages also by who wrote them and when.

use parley_proto::{self as pb, MessageType};
use prost_types::Timestamp;

use crate::{
    errors::sentence::Complaint,
    openapi::{
        About,
        schema::{id, text, unix},
    },
    params::{fields::Fields, timestamps},
};

/// The parameters that narrow a search for conversations.
pub fn of_conversations(about: About) -> About {
    about.query("inbox_id", id()).query("contact_id", id())
}

/// The parameters that narrow a search for messages.
pub fn of_messages(about: About) -> About {
    of_conversations(about)
        .query("from", text().note("Only what this contact wrote: contact:ID."))
        .query("since", unix())
        .query("until", unix())
}

/// Which conversations and messages are searched.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    pub inbox_ids: Vec<i64>,
    pub contact_id: Option<i64>,
    /// Who wrote the messages, always a contact.
    from: Option<i64>,
    since: Option<Timestamp>,
    /// Not included, unlike in the parameter.
    before: Option<Timestamp>,
}

impl Narrowing {
    /// Reads the parameters; what is wrong with them is left in `fields`.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let from = fields.text("from").filter(|from| !from.trim().is_empty());
        let contact = from.as_deref().and_then(|from| from.trim().strip_prefix("contact:")?.parse().ok());
        if from.is_some() && contact.is_none() {
            fields.complain(Complaint::new("from", "must be contact:ID"));
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

    /// Puts the conditions into a search for messages. Nothing is found if it is to be in conversations of two contacts.
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
