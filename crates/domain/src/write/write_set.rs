//! The write set: everything that one write adds, before any of it is stored.

use std::{sync::Arc, time::Duration};

use parley_eventlog::{
    cursor::Cursor,
    event_record::EventRecord,
    mark::Mark,
    pending_event::{Actor, PendingEvent, Subject},
};
use parley_fault::Protection;
use parley_storage::{
    entity::{account, account_log, attachment, message},
    joined::{Conversation, Message, Sender},
};
use parley_types::{
    id::{ConversationId, MessageId, Seq},
    time::Micros,
};

use super::texts::{RenderedTexts, TextRequest};
use crate::auth::caller::Caller;

mod sequence_numbers;

/// The minimum difference between the times of two consecutive writes of an account.
const TICK: Duration = Duration::from_micros(1);

/// An uploaded attachment that a write claims, for a message or as an avatar.
#[derive(Clone, Copy, Debug)]
pub struct AttachmentClaim {
    /// The id of the attachment.
    pub id: i64,
    /// The message that claims the attachment, or 0 if it is claimed by something other than a message.
    pub message: MessageId,
    /// The position of the attachment in the message.
    pub position: usize,
}

/// Allocates the ids of one write and collects its rows and events. Nothing is stored until the writer commits: dropping a write set
/// discards the write.
#[derive(Clone, Debug)]
pub struct WriteSet {
    /// The account that is written to.
    pub account: Arc<account::Model>,
    /// The time of the write, which is later than that of every earlier write of the account.
    pub at: Micros,
    mark: Mark,
    counters: account_log::Model,
    drafts: Vec<PendingEvent>,
    rows: NewRows,
    texts: Texts,
    actor: Option<Actor>,
    traceparent: String,
}

/// Rows that a write adds. They are stored together with its events, after its rules have run.
#[derive(Clone, Debug, Default)]
pub struct NewRows {
    /// New messages.
    pub messages: Vec<message::Model>,
    /// Uploaded attachments that the write claims.
    pub claims: Vec<AttachmentClaim>,
    /// New attachments, as opposed to uploaded ones that already have a row.
    pub attachments: Vec<attachment::Model>,
}

/// The templates that a write uses: those that are rendered, and those that it found unrendered. A write set renders nothing itself: the
/// writer shard takes the missing ones, has them rendered on a compute pool, and plans again.
#[derive(Clone, Debug, Default)]
struct Texts {
    rendered: Arc<RenderedTexts>,
    missing: Vec<TextRequest>,
}

/// A write that is ready to be stored.
#[derive(Debug)]
pub struct CompletedWrite {
    /// The account's counters after the write.
    pub counters: account_log::Model,
    /// The rows that the write adds.
    pub rows: NewRows,
    /// The events with their sequence numbers.
    pub entries: Vec<EventRecord>,
}

impl WriteSet {
    /// Opens a write set for the next write to the account after these counters.
    pub fn open(account: Arc<account::Model>, counters: account_log::Model, caller: &Caller, traceparent: &str) -> Self {
        let actor = (!caller.is_parley()).then(|| caller.actor(account.id));
        let tick = if parley_fault::is_on(Protection::MonotonicTimes) {
            TICK
        } else {
            Duration::ZERO
        };
        // Choose a time later than every earlier write to the account, even if the clock was set back, because cache keys rely on
        // increasing times.
        let at = Micros::now().max(counters.last_occurred_at.plus(tick));
        Self {
            account,
            at,
            mark: Mark::random(at),
            counters,
            drafts: Vec::new(),
            rows: NewRows::default(),
            texts: Texts::default(),
            actor,
            traceparent: traceparent.to_owned(),
        }
    }

    /// Allocates the account's next message id.
    pub fn allocate_message_id(&mut self) -> MessageId {
        self.counters.last_message_id.0 += 1;
        self.counters.last_message_id
    }

    /// Allocates the account's next conversation id.
    pub fn allocate_conversation_id(&mut self) -> ConversationId {
        self.counters.last_conversation_id.0 += 1;
        self.counters.last_conversation_id
    }

    /// Adds a message to store.
    pub fn insert_message(&mut self, row: message::Model) {
        self.rows.messages.push(row);
    }

    /// Adds an uploaded attachment to claim.
    pub fn claim_attachment(&mut self, claim: AttachmentClaim) {
        self.rows.claims.push(claim);
    }

    /// Adds a new attachment to store.
    pub fn insert_attachment(&mut self, row: attachment::Model) {
        self.rows.attachments.push(row);
    }

    /// Supplies the texts of the templates that were rendered for this write.
    pub fn set_rendered_texts(&mut self, rendered: Arc<RenderedTexts>) {
        self.texts.rendered = rendered;
    }

    /// Returns a template rendered for a conversation. `None` if it cannot be rendered, or if it has not been rendered yet; in the latter
    /// case [`WriteSet::take_missing_texts`] returns it.
    pub fn rendered_text(&mut self, text: &str, conversation: &Conversation, sender: Option<&Sender>) -> Option<String> {
        let key = (conversation.row.id, text.to_owned());
        if let Some(rendered) = self.texts.rendered.get(&key) {
            return rendered.clone();
        }
        self.texts.missing.push(TextRequest {
            text: key.1,
            conversation: conversation.clone(),
            sender: sender.cloned(),
        });
        None
    }

    /// Takes the templates that were requested but not yet rendered.
    pub fn take_missing_texts(&mut self) -> Vec<TextRequest> {
        std::mem::take(&mut self.texts.missing)
    }

    /// Adds an event to the write.
    pub fn emit(&mut self, draft: PendingEvent) {
        self.drafts.push(draft);
    }

    /// Returns the events added so far.
    pub fn drafts(&self) -> &[PendingEvent] {
        &self.drafts
    }

    /// Returns the message of the most recently added event that is about a message.
    pub fn newest_message(&self) -> Option<&Message> {
        self.drafts.iter().rev().find_map(|draft| match &draft.subject {
            Subject::Message(message, _) => Some(message.as_ref()),
            _ => None,
        })
    }

    /// Returns the cursor after the events added so far. Before the first event of this write it has no mark, because it points to an event
    /// of an earlier write.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            account: self.account.id,
            epoch: self.counters.epoch,
            seq: Seq(self.next_seq().0 - 1),
            mark: (!self.drafts.is_empty()).then_some(self.mark),
        }
    }
}
