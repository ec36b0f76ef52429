//! The count of unread messages.

use parley_proto as pb;

/// The number at which Chatwoot stops counting unread messages.
const MOST_UNREAD: u32 = 10;

/// The number of unread messages, capped at [`MOST_UNREAD`].
pub fn unread(conversation: &pb::Conversation) -> u32 {
    conversation.unread_count.min(MOST_UNREAD)
}
