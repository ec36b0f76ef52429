//! Pending events: each describes what happened, to which resource, and what changed, before it has a position in the log.

use std::sync::Arc;

use parley_proto::{self as pb, EventKind, value::timestamp};
use parley_storage::{
    entity::{account, agent_bot, canned_response, custom_attribute_definition, kind::MessageType, label, team},
    joined,
};
use parley_types::{
    id::{ContactId, ConversationId, InboxId, Seq},
    time::Micros,
};

use crate::conversion::{CredentialsShown, FromStored as _, ToProto as _, inbox_of, without_sender_contact};
use crate::{event_record::EventRecord, event_size, mark::Mark};

pub use crate::change::Change;

/// The principal that caused an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    pub kind: pb::ActorType,
    /// The id of the user, contact, bot or token that caused the event.
    pub id: i64,
    /// The principal's name at the time of the event.
    pub name: String,
}

/// The resource that an event is about, in its state after the change.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A message and its conversation.
    Message(Arc<joined::Message>, joined::Conversation),
    Conversation(joined::Conversation),
    Contact(Arc<joined::Contact>),
    /// A contact with its sessions.
    ContactSessions(joined::ContactSessions),
    Inbox(Arc<joined::Inbox>),
    /// The account that the log belongs to.
    Account,
    /// A member of the account.
    Agent(joined::Agent),
    AgentBot(Arc<agent_bot::Model>),
    Team(team::Model),
    /// A label in the account's list of labels.
    Label(label::Model),
    /// A custom attribute definition.
    Definition(custom_attribute_definition::Model),
    CannedResponse(canned_response::Model),
    /// A note about a contact.
    Note(joined::Note),
}

/// An event that has no position in the log yet.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    pub kind: EventKind,
    pub subject: Subject,
    pub changes: Vec<Change>,
}

/// The properties shared by all events of one write.
#[derive(Clone, Debug)]
pub struct WriteMetadata {
    pub account: Arc<account::Model>,
    /// The mark of the write, with which the `event_id`s begin.
    pub mark: Mark,
    /// The principal that caused the events, or `None` if Parley itself caused them.
    pub actor: Option<Actor>,
    /// The W3C trace context of the request; may be empty.
    pub traceparent: String,
    /// The time of the write.
    pub at: Micros,
}

impl PendingEvent {
    /// Creates a pending event without changes.
    pub fn new(kind: EventKind, subject: Subject) -> Self {
        Self {
            kind,
            subject,
            changes: Vec::new(),
        }
    }

    /// Encodes the event with its position in the log. Each event is encoded only once. The payload has at most `event_size::EVENT_BYTES`
    /// bytes, whatever the size of its resource.
    pub fn place(&self, envelope: &WriteMetadata, seq: Seq, transaction_id: Seq, transaction_end: bool) -> EventRecord {
        let account = envelope.account.id;
        let (changes, truncated_fields) = event_size::changes(&self.changes);
        let mut event = pb::Event {
            event_id: format!("{}-{account}-{seq}", envelope.mark),
            account_id: account.0,
            seq: seq.to_wire(),
            transaction_id: transaction_id.to_wire(),
            transaction_end,
            kind: self.kind.into(),
            kind_name: self.kind.event_name().to_owned(),
            occurred_at: Some(timestamp(envelope.at)),
            actor: envelope.actor.as_ref().map(|actor| pb::Actor {
                r#type: actor.kind.into(),
                id: actor.id,
                name: actor.name.clone(),
            }),
            traceparent: envelope.traceparent.clone(),
            changes,
            resource: Some(self.resource(&envelope.account)),
            truncated_fields,
        };
        let keys = self.keys();
        EventRecord {
            account,
            seq,
            transaction_id,
            // The conversion cannot fail: the kinds are small positive numbers.
            kind: i16::try_from(i32::from(self.kind)).unwrap_or_default(),
            inbox: keys.inbox,
            conversation: keys.conversation,
            contact: keys.contact,
            message_type: keys.message_type,
            private: keys.private,
            occurred_at: envelope.at,
            payload: event_size::encode(&mut event).into(),
        }
    }

    fn resource(&self, account: &account::Model) -> pb::event::Resource {
        use pb::event::Resource;
        let of = Some(pb::AccountSummary::from_stored(account));
        match &self.subject {
            Subject::Message(message, conversation) => Resource::Message(pb::MessageResource {
                message: Some(without_sender_contact(message)),
                conversation: Some(conversation.to_proto()),
                inbox: Some(conversation.inbox.as_ref().to_proto()),
                account: of,
            }),
            Subject::Conversation(conversation) => Resource::Conversation(pb::ConversationResource {
                conversation: Some(conversation.to_proto()),
                inbox: Some(conversation.inbox.as_ref().to_proto()),
                account: of,
            }),
            Subject::Contact(contact) => Resource::Contact(pb::ContactResource {
                contact: Some(contact.as_ref().to_proto()),
                account: of,
            }),
            Subject::ContactSessions(contact) => Resource::Contact(pb::ContactResource {
                contact: Some(contact.to_proto()),
                account: of,
            }),
            Subject::Inbox(inbox) => Resource::Inbox(pb::InboxResource {
                inbox: Some(inbox_of(inbox, CredentialsShown::Nothing)),
                account: of,
            }),
            Subject::Account => Resource::Account(account.to_proto()),
            Subject::Agent(agent) => Resource::Agent(agent.to_proto()),
            Subject::AgentBot(bot) => Resource::AgentBot(bot.as_ref().to_proto()),
            Subject::Team(team) => Resource::Team(team.to_proto()),
            Subject::Label(label) => Resource::Label(label.to_proto()),
            Subject::Definition(definition) => Resource::CustomAttributeDefinition(definition.to_proto()),
            Subject::CannedResponse(response) => Resource::CannedResponse(response.to_proto()),
            Subject::Note(note) => Resource::ContactNote(note.to_proto()),
        }
    }

    fn keys(&self) -> Keys {
        match &self.subject {
            Subject::Message(message, conversation) => Keys {
                message_type: Some(message.row.message_type),
                private: Some(message.row.private),
                ..Keys::of(conversation)
            },
            Subject::Conversation(conversation) => Keys::of(conversation),
            Subject::Contact(contact) => Keys {
                contact: Some(contact.row.id),
                ..Keys::default()
            },
            Subject::ContactSessions(contact) => Keys {
                contact: Some(contact.contact.row.id),
                ..Keys::default()
            },
            Subject::Inbox(inbox) => Keys {
                inbox: Some(inbox.row.id),
                ..Keys::default()
            },
            Subject::Note(note) => Keys {
                contact: Some(note.row.contact_id),
                ..Keys::default()
            },
            Subject::Account
            | Subject::Agent(_)
            | Subject::AgentBot(_)
            | Subject::Team(_)
            | Subject::Label(_)
            | Subject::Definition(_)
            | Subject::CannedResponse(_) => Keys::default(),
        }
    }
}

/// The columns that subscribers' filters need.
#[derive(Default)]
struct Keys {
    inbox: Option<InboxId>,
    conversation: Option<ConversationId>,
    contact: Option<ContactId>,
    message_type: Option<MessageType>,
    private: Option<bool>,
}

impl Keys {
    fn of(conversation: &joined::Conversation) -> Self {
        Self {
            inbox: Some(conversation.row.inbox_id),
            conversation: Some(conversation.row.id),
            contact: Some(conversation.row.contact_id),
            ..Self::default()
        }
    }
}

/// Encodes the pending events of one write at consecutive positions after `head`. All of them have the seq of the first event as
/// `transaction_id`, and only the last event has `transaction_end`.
pub fn encode_all(pending_events: &[PendingEvent], envelope: &WriteMetadata, head: Seq) -> Vec<EventRecord> {
    let first = head.next();
    let count = pending_events.len();
    pending_events
        .iter()
        .zip(1_i64..)
        .map(|(draft, nth)| draft.place(envelope, Seq(head.0 + nth), first, usize::try_from(nth) == Ok(count)))
        .collect()
}
