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
    /// The conversations to which the calls add messages. Conversations that do not exist are left out.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The messages that the calls reply to.
    pub replied_to: HashMap<MessageId, RepliedTo>,
    /// The unique source ids in the calls that existing messages already use, with the ids of those messages.
    pub taken_source_ids: HashMap<(InboxId, String), MessageId>,
    /// The uploads that the calls name, and reserved ids for new attachments.
    pub available: Available,
}

/// The changes that one planned call makes.
#[derive(Debug)]
pub struct CallChanges {
    /// The conversations that the call changes.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The contacts of the changed conversations.
    pub contacts: HashMap<ContactId, Arc<Contact>>,
    /// Conversations that the call opened and that have no assignee.
    pub opened: Vec<ConversationId>,
    /// The source ids of the call's messages that must be unique in their inbox, with the ids of the messages.
    pub source_ids: Vec<((InboxId, String), MessageId)>,
}

/// The rows that a plan stores.
#[derive(Debug, Default)]
pub struct MessageRows {
    /// New messages.
    pub messages: Vec<message::Model>,
    /// Uploads that become attachments of the messages. Calls with uploads are planned only under the row lock.
    pub claims: Vec<AttachmentClaim>,
    /// New attachments. Like claimed uploads, they are stored only under the row lock.
    pub attachments: Vec<attachment::Model>,
    /// The changed conversations, in the state in which the plan stores them.
    pub conversations: HashMap<ConversationId, CachedConversation>,
    /// The contacts of the changed conversations, in the state in which the plan stores them.
    pub contacts: HashMap<ContactId, Arc<Contact>>,
    /// Conversations that the plan opens and that have no assignee.
    pub opened: Vec<ConversationId>,
}

/// The result of a call: the created messages, in the order of the request.
pub type NewMessages = Vec<Arc<Message>>;

impl MessageRows {
    /// Returns the contacts that changed after `head`. Most outgoing messages do not change their contact.
    pub fn changed_contacts(&self, head: Seq) -> impl Iterator<Item = &contact::Model> {
        let rows = self.contacts.values().map(|contact| &contact.row);
        rows.filter(move |row| row.version > head)
    }
}
