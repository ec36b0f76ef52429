//! The number of unread messages in a conversation.

use parley_proto as pb;

/// The number at which Chatwoot stops counting unread messages.
const MAX_UNREAD: u32 = 10;

/// Returns the number of unread messages in a conversation, capped at [`MAX_UNREAD`].
pub fn unread(conversation: &pb::Conversation) -> i64 {
    conversation.unread_count.min(MAX_UNREAD).into()
}
