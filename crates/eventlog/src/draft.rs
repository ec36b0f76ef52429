//! Events before they have their place in the log: what happened, to what, and what changed.

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

use crate::conversion::{FromStored as _, Reveal, ToProto as _, inbox_of, lean};
use crate::{entry::Entry, event_size, mark::Mark};

pub use crate::change::Change;

/// Who caused an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// What it is.
    pub kind: pb::ActorType,
    /// The id of the user, contact or token.
    pub id: i64,
    /// The name at the time.
    pub name: String,
}

/// What an event is about, after the change.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A message in its conversation.
    Message(Arc<joined::Message>, joined::Conversation),
    /// A conversation.
    Conversation(joined::Conversation),
    /// A contact.
    Contact(Arc<joined::Contact>),
    /// A contact with its sessions.
    ContactSessions(joined::ContactSessions),
    /// An inbox.
    Inbox(Arc<joined::Inbox>),
    /// The account itself.
    Account,
    /// A member of the account.
    Agent(joined::Agent),
    /// A bot.
    AgentBot(Arc<agent_bot::Model>),
    /// A team.
    Team(team::Model),
    /// A label of the account's list.
    Label(label::Model),
    /// A definition of a custom attribute.
    Definition(custom_attribute_definition::Model),
    /// A canned response.
    CannedResponse(canned_response::Model),
    /// A note about a contact.
    Note(joined::Note),
}

/// An event that has no place yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What happened.
    pub kind: EventKind,
    /// To what.
    pub subject: Subject,
    /// What changed.
    pub changes: Vec<Change>,
}

/// What all events of one write share.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The account.
    pub account: Arc<account::Model>,
    /// What its events are recognised by.
    pub mark: Mark,
    /// Who caused them.
    pub actor: Option<Actor>,
    /// The trace context of the request; may be empty.
    pub traceparent: String,
    /// When they happened.
    pub at: Micros,
}

impl Draft {
    /// An event without changes.
    pub fn new(kind: EventKind, subject: Subject) -> Self {
        Self {
            kind,
            subject,
            changes: Vec::new(),
        }
    }

    /// The event at its place, encoded once: no larger than [`event_size::EVENT_BYTES`], whatever it is about.
    pub fn place(&self, envelope: &Envelope, seq: Seq, transaction_id: Seq, transaction_end: bool) -> Entry {
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
        Entry {
            account,
            seq,
            transaction_id,
            // In range: the kinds are numbered from 1.
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
                message: Some(lean(message)),
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
                inbox: Some(inbox_of(inbox, Reveal::Nothing)),
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

/// What filters look at.
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

/// Puts the drafts of one write at consecutive places after `head`.
pub fn place_all(drafts: &[Draft], envelope: &Envelope, head: Seq) -> Vec<Entry> {
    let first = head.next();
    let count = drafts.len();
    drafts
        .iter()
        .zip(1_i64..)
        .map(|(draft, nth)| draft.place(envelope, Seq(head.0 + nth), first, usize::try_from(nth) == Ok(count)))
        .collect()
}
