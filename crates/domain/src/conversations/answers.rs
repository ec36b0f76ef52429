//! The results of operations on conversations.

use std::sync::Arc;

use parley_storage::joined::{ConversationSummary, Message};
use parley_types::id::ContactId;

use crate::write::response_subject::ResponseSubject;

/// A new conversation with its first message.
#[derive(Clone, Debug)]
pub struct CreatedConversation {
    /// The new conversation.
    pub conversation: ConversationSummary,
    /// The first message, if the request had one.
    pub message: Option<Arc<Message>>,
}

/// The result of setting the status of a conversation.
#[derive(Clone, Debug)]
pub struct StatusSet {
    /// The conversation after the change.
    pub conversation: ConversationSummary,
    /// Whether the change handed the conversation over from an agent bot to the agents.
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
