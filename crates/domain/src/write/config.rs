//! What is asked of the writer, and its settings.

use std::sync::Arc;

use parley_storage::joined::Message;
use parley_types::{error::Result, id::ConversationId};
use tokio::sync::oneshot;

use super::call::{Answer, Call};
use crate::messages::new_message::NewMessage;

/// How much the writer may hold.
#[derive(Clone, Debug)]
pub struct Config {
    /// Lanes on PostgreSQL; SQLite has one.
    pub lanes: usize,
    /// Calls that may wait in a lane; beyond it, calls are refused.
    pub queue: usize,
    /// Messages that one batch takes at most; a call with more goes alone.
    pub batch_messages: usize,
    /// Bytes of content that one batch takes, before the last call.
    pub batch_bytes: usize,
    /// Conversations whose rows are kept at hand, over all lanes.
    pub cached_conversations: usize,
    /// Messages that a conversation takes within a minute; 0: any number.
    pub messages_per_minute: u32,
    /// Turns a protection off, in tests only.
    #[cfg(feature = "faults")]
    pub fault: String,
}

impl Config {
    /// Whether the counter row's lock is taken away, in tests only.
    #[cfg(feature = "faults")]
    pub(super) fn unlocked(&self) -> bool {
        self.fault == "counter_lock"
    }

    #[cfg(not(feature = "faults"))]
    #[allow(clippy::unused_self)]
    pub(super) fn unlocked(&self) -> bool {
        false
    }
}

/// New messages, all or none.
pub struct Messages {
    pub(super) call: Call<Vec<Arc<Message>>>,
    pub(super) items: Vec<(ConversationId, NewMessage)>,
    pub(super) reply: oneshot::Sender<Result<Answer<Vec<Arc<Message>>>>>,
}
