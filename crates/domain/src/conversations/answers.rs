//! The results of operations on conversations.

use std::sync::Arc;

use parley_storage::joined::{ConversationSummary, Message};
use parley_types::id::ContactId;

use crate::write::response_subject::ResponseSubject;

/// A new conversation with its first message.
#[derive(Clone, Debug)]
pub struct CreatedConversation {
    /// The conversation.
    pub conversation: ConversationSummary,
    /// The first message, if the request had one.
    pub message: Option<Arc<Message>>,
}

/// A conversation whose status was set.
#[derive(Clone, Debug)]
pub struct StatusSet {
    /// The conversation.
    pub conversation: ConversationSummary,
    /// Whether an agent bot handed the conversation over to the agents.
    pub handed_off: bool,
}

impl ResponseSubject for CreatedConversation {
    fn contact(&self) -> Option<ContactId> {
        self.conversation.contact()
    }
}

impl ResponseSubject for StatusSet {
    fn contact(&self) -> Option<ContactId> {
        self.conversation.contact()
    }
}
