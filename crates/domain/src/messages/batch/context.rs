//! The data that planning a batch of messages requires and produces.

use std::{collections::HashMap, sync::Arc};

use parley_storage::{
    entity::{attachment, contact, message},
    joined::{Contact, Message},
};
use parley_types::id::{ContactId, ConversationId, InboxId, MessageId, Seq};

use super::{cache::CachedConversation, references::RepliedTo};
use crate::{files::claims::Available, write::AttachmentClaim};

/// The rows of one account that are read before a batch is planned.
#[derive(Clone, Debug, Default)]
pub struct BatchContext {
    /// The conversations that the calls name. Conversations that do not exist are missing.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The messages that the calls reply to.
    pub replied_to: HashMap<MessageId, RepliedTo>,
    /// Those of the calls' unique source ids that existing messages already have, with the ids of these messages.
    pub taken_source_ids: HashMap<(InboxId, String), MessageId>,
    /// The uploads that the calls name, and reserved ids for new attachments.
    pub available: Available,
}

/// The changes that one planned call makes.
#[derive(Debug)]
pub struct CallChanges {
    /// The conversations that it changes.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The contacts of these conversations.
    pub contacts: HashMap<ContactId, Arc<Contact>>,
    /// Conversations that it opened and that have no assignee.
    pub opened: Vec<ConversationId>,
    /// The unique source ids of its messages.
    pub source_ids: Vec<((InboxId, String), MessageId)>,
}

/// The rows that a plan stores.
#[derive(Debug, Default)]
pub struct MessageRows {
    /// New messages.
    pub messages: Vec<message::Model>,
    /// Uploads that the messages claim. Calls with uploads are planned only under the row lock.
    pub claims: Vec<AttachmentClaim>,
    /// New attachments, which are also stored only under the row lock.
    pub attachments: Vec<attachment::Model>,
    /// The conversations after the plan.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The contacts of these conversations after the plan.
    pub contacts: HashMap<ContactId, Arc<Contact>>,
    /// Conversations that the plan opens and that have no assignee.
    pub opened: Vec<ConversationId>,
}

/// The result of a call: its messages, in the order of the request.
pub type NewMessages = Vec<Arc<Message>>;

impl MessageRows {
    /// Returns the contacts that changed after `head`. Most outgoing messages do not change their contact.
    pub fn changed_contacts(&self, head: Seq) -> impl Iterator<Item = &contact::Model> {
        let rows = self.contacts.values().map(|contact| &contact.row);
        rows.filter(move |row| row.version > head)
    }
}
