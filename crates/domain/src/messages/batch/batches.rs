//! The state that a writer shard keeps for new messages, which are stored in batches.

use parley_storage::Database;
use parley_types::id::{AccountId, ConversationId};

use super::cache::ConversationCache;
use crate::write::Writer;

/// The writer as this crate uses it: new messages are stored in batches, and every other write runs as a separate operation.
pub type MessageWriter = Writer<MessageBatches>;

/// Settings for storing messages.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of conversations whose rows are cached, across all writer shards.
    pub cached_conversations: usize,
    /// The maximum number of messages in a conversation within a minute; 0 for no limit.
    pub messages_per_minute: u32,
}

/// Plans and stores the new messages that one writer shard processes.
#[derive(Debug)]
pub struct MessageBatches {
    pub(super) config: Config,
    pub(super) db: Database,
    pub(super) cache: ConversationCache,
    /// Conversations that committed batches opened and that have no assignee yet.
    pub(super) opened: Vec<(AccountId, ConversationId)>,
}
