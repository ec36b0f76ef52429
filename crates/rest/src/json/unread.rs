//! The count of unread messages.

use parley_proto as pb;

/// Where the contract stops counting unread messages.
const MOST_UNREAD: u32 = 10;

/// How many messages are unread, as far as the contract counts.
pub fn unread(conversation: &pb::Conversation) -> u32 {
    conversation.unread_count.min(MOST_UNREAD)
}
