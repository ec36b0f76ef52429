//! Rows that belong together, as a select over several tables returns them.

use std::sync::Arc;

use parley_types::{id::InboxId, time::Micros};

use crate::{
    entity::{
        account, agent_bot, api_channel, attachment, contact, contact_inbox, contact_note, conversation, inbox, kind::Availability,
        membership, message, team, user,
    },
    present::present,
};

/// A note about a contact with who wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The note.
    pub row: contact_note::Model,
    /// Who wrote it last; none: no user did, or one that is no member any more.
    pub author: Option<Arc<Agent>>,
}

/// A user as seen inside one account.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// The person.
    pub user: Arc<user::Model>,
    /// What the person is in the account.
    pub membership: membership::Model,
    /// When the person was last there, as far as that was known when this was read.
    pub seen_at: Option<Micros>,
}

impl Agent {
    /// What others see: those who go offline with their connection do so a moment after they were last there.
    pub fn availability(&self, now: Micros) -> Availability {
        shown(&self.membership, self.seen_at, now)
    }
}

/// As [`Agent::availability`], of whoever was last there at `seen_at`.
pub fn shown(membership: &membership::Model, seen_at: Option<Micros>, now: Micros) -> Availability {
    if membership.auto_offline && !present(seen_at, now) {
        Availability::Offline
    } else {
        membership.availability
    }
}

/// An inbox with its channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbox {
    /// The inbox.
    pub row: inbox::Model,
    /// Its channel.
    pub channel: api_channel::Model,
}

/// A contact with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// The contact.
    pub row: contact::Model,
    /// Names of the labels, in the order given.
    pub labels: Vec<String>,
    /// When the person was last there, as far as that was known when this was read.
    pub seen_at: Option<Micros>,
}

impl Contact {
    /// Whether the person is there.
    pub fn online(&self, now: Micros) -> bool {
        present(self.seen_at, now)
    }
}

/// A session with its inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The session.
    pub row: contact_inbox::Model,
    /// Its inbox.
    pub inbox: Arc<Inbox>,
}

/// A session with its contact: what a contact's own program is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// Its inbox.
    pub inbox: Arc<Inbox>,
    /// The session.
    pub row: contact_inbox::Model,
    /// Its contact.
    pub contact: Arc<Contact>,
}

/// A contact with its sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactSessions {
    /// The contact.
    pub contact: Contact,
    /// Its sessions, oldest first.
    pub sessions: Vec<Session>,
    /// Whether it has older sessions, which were not read.
    pub more_sessions: bool,
}

impl ContactSessions {
    /// Leaves out the sessions in other inboxes.
    pub fn keep_sessions_of(&mut self, inboxes: &[InboxId]) {
        self.sessions.retain(|session| inboxes.contains(&session.row.inbox_id));
    }
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Sender {
    /// The contact.
    Contact(Arc<Contact>),
    /// A user.
    User(Arc<user::Model>),
    /// A bot.
    AgentBot(Arc<agent_bot::Model>),
}

/// A message with its sender and attachments.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The message.
    pub row: message::Model,
    /// Who wrote it.
    pub sender: Option<Sender>,
    /// What is attached.
    pub attachments: Vec<attachment::Model>,
    /// What the creator sent as `echo_id`; in the answer to the creation and its event only.
    pub echo_id: Option<String>,
}

/// A conversation with what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// The conversation.
    pub row: conversation::Model,
    /// The account.
    pub account: Arc<account::Model>,
    /// The inbox.
    pub inbox: Arc<Inbox>,
    /// The person.
    pub contact: Arc<Contact>,
    /// The session.
    pub session: Arc<contact_inbox::Model>,
    /// The user it is assigned to, while a member of the account.
    pub assignee: Option<Arc<Agent>>,
    /// The team that works on it.
    pub team: Option<Arc<team::Model>>,
    /// Names of the labels, in the order given.
    pub labels: Arc<Vec<String>>,
    /// The newest message that is neither private nor an activity line.
    pub last_public: Option<Arc<Message>>,
}

/// A conversation with its newest messages, as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationSummary {
    /// The conversation.
    pub conversation: Conversation,
    /// The newest message of any kind.
    pub last: Option<Message>,
    /// The newest message that is no activity line.
    pub last_non_activity: Option<Message>,
}
