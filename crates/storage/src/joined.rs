//! Rows of several tables that are loaded together.

use std::sync::Arc;

use parley_types::{id::InboxId, time::Micros};

use crate::{
    entity::{
        account, agent_bot, api_channel, attachment, contact, contact_inbox, contact_note, conversation, inbox, kind::Availability,
        membership, message, team, user,
    },
    present::present,
};

/// A note about a contact, with the user who edited it last.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub row: contact_note::Model,
    /// The user who last edited the note. `None` if no user edited it, or if the user is no longer a member of the account.
    pub author: Option<Arc<Agent>>,
}

/// A user as a member of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    pub user: Arc<user::Model>,
    pub membership: membership::Model,
    /// When the user was last seen, as of the time at which this value was loaded; `None` if the user was never seen.
    pub seen_at: Option<Micros>,
}

impl Agent {
    /// Returns the member's availability as others see it. A member with `auto_offline` counts as offline shortly after being last seen.
    pub fn availability(&self, now: Micros) -> Availability {
        shown(&self.membership, self.seen_at, now)
    }
}

/// Like [`Agent::availability`], for a member who was last seen at `seen_at`.
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
    pub row: inbox::Model,
    pub channel: api_channel::Model,
}

/// A contact with its labels and presence.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    pub row: contact::Model,
    /// The names of the contact's labels, in the order in which they were set.
    pub labels: Vec<String>,
    /// When the contact was last seen, as of the time at which this value was loaded; `None` if the contact was never seen.
    pub seen_at: Option<Micros>,
}

impl Contact {
    /// Returns whether the contact is online at the time `now`.
    pub fn online(&self, now: Micros) -> bool {
        present(self.seen_at, now)
    }
}

/// A contact session with its inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub row: contact_inbox::Model,
    pub inbox: Arc<Inbox>,
}

/// A contact session with its inbox and contact, as the client API returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    pub inbox: Arc<Inbox>,
    pub row: contact_inbox::Model,
    pub contact: Arc<Contact>,
}

/// A contact with its newest sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactSessions {
    pub contact: Contact,
    /// The contact's newest sessions, in ascending order of creation.
    pub sessions: Vec<Session>,
    /// Whether the contact has older sessions, which were not read.
    pub more_sessions: bool,
}

impl ContactSessions {
    /// Removes all sessions except those in these inboxes.
    pub fn keep_sessions_of(&mut self, inboxes: &[InboxId]) {
        self.sessions.retain(|session| inboxes.contains(&session.row.inbox_id));
    }
}

/// The sender of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Sender {
    Contact(Arc<Contact>),
    User(Arc<user::Model>),
    AgentBot(Arc<agent_bot::Model>),
}

/// A message with its sender and attachments.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub row: message::Model,
    /// The sender of the message; `None` if the message has no sender, or if its sender was deleted.
    pub sender: Option<Sender>,
    pub attachments: Vec<attachment::Model>,
    /// The `echo_id` that the creator of the message sent. It is present only in the response to the call that created the message and in
    /// the creation event.
    pub echo_id: Option<String>,
}

/// A conversation with its related rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    pub row: conversation::Model,
    pub account: Arc<account::Model>,
    pub inbox: Arc<Inbox>,
    pub contact: Arc<Contact>,
    pub session: Arc<contact_inbox::Model>,
    /// The assignee; `None` if the conversation has no assignee, or if the assignee is no longer a member of the account.
    pub assignee: Option<Arc<Agent>>,
    pub team: Option<Arc<team::Model>>,
    /// The names of the conversation's labels, in the order in which they were set.
    pub labels: Arc<Vec<String>>,
    /// The newest message in the conversation that is neither private nor an activity message.
    pub last_public: Option<Arc<Message>>,
}

/// A conversation with its newest messages, as conversation lists return it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationSummary {
    pub conversation: Conversation,
    /// The newest message of any type in the conversation.
    pub last: Option<Message>,
    /// The newest message in the conversation that is not an activity message.
    pub last_non_activity: Option<Message>,
}
