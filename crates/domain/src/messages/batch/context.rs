//! What planning a batch of messages reads and makes.

use std::{collections::HashMap, sync::Arc};

use parley_storage::{
    entity::{attachment, contact, message},
    joined::{Contact, Message},
};
use parley_types::id::{ContactId, ConversationId, InboxId, MessageId, Seq};

use super::{cache::CachedConversation, references::RepliedTo};
use crate::{files::claims::Available, write::AttachmentClaim};

/// The rows of one account that the calls of a batch read.
#[derive(Clone, Debug, Default)]
pub struct BatchContext {
    /// The conversations that the calls name, without those that do not exist.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The messages that the calls reply to.
    pub replied_to: HashMap<MessageId, RepliedTo>,
    /// The unique source ids of the calls that other messages have.
    pub taken_source_ids: HashMap<(InboxId, String), MessageId>,
    /// The uploads that the calls name, and ids for the attachments that are stored with their messages.
    pub available: Available,
}

/// What one planned call changes.
#[derive(Debug)]
pub struct CallChanges {
    /// Its conversations.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// Their contacts.
    pub contacts: HashMap<ContactId, Arc<Contact>>,
    /// Conversations that it opened and that have no agent yet.
    pub opened: Vec<ConversationId>,
    /// The unique source ids of its messages.
    pub source_ids: Vec<((InboxId, String), MessageId)>,
}

/// The rows of a plan.
#[derive(Debug, Default)]
pub struct MessageRows {
    /// New messages.
    pub messages: Vec<message::Model>,
    /// The uploads that the messages take. Calls with uploads are planned under the lock only.
    pub claims: Vec<AttachmentClaim>,
    /// New attachments; under the lock only, too.
    pub attachments: Vec<attachment::Model>,
    /// The conversations after the plan.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// Their contacts after the plan.
    pub contacts: HashMap<ContactId, Arc<Contact>>,
    /// Conversations that the plan opens and that have no agent yet.
    pub opened: Vec<ConversationId>,
}

/// The result of a call: its messages, in their order.
pub type NewMessages = Vec<Arc<Message>>;

impl MessageRows {
    /// The contacts that changed since a head of the log: most outgoing messages leave theirs alone.
    pub fn changed_contacts(&self, head: Seq) -> impl Iterator<Item = &contact::Model> {
        let rows = self.contacts.values().map(|contact| &contact.row);
        rows.filter(move |row| row.version > head)
    }
}
