//! The write set: everything that one write makes, before any of it is stored.

use std::{sync::Arc, time::Duration};

use parley_eventlog::{
    cursor::Cursor,
    event_record::EventRecord,
    mark::Mark,
    pending_event::{Actor, PendingEvent, Subject, WriteMetadata, encode_all},
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

/// The minimum distance between the times of two consecutive writes of an account.
const TICK: Duration = Duration::from_micros(1);

/// An uploaded attachment that a write takes.
#[derive(Clone, Copy, Debug)]
pub struct AttachmentClaim {
    /// The attachment.
    pub id: i64,
    /// The message that takes it; 0 if something other than a message does.
    pub message: MessageId,
    /// Its position among the attachments of the message.
    pub position: usize,
}

/// Allocates the numbers of one write and collects what it makes. Nothing is stored until the writer commits: a write set that is dropped leaves
/// no trace.
#[derive(Clone, Debug)]
pub struct WriteSet {
    /// The account.
    pub account: Arc<account::Model>,
    /// The time of the write: later than every earlier write of the account.
    pub at: Micros,
    mark: Mark,
    counters: account_log::Model,
    drafts: Vec<PendingEvent>,
    rows: NewRows,
    texts: Texts,
    actor: Option<Actor>,
    traceparent: String,
}

/// Rows that a write adds. They are stored together with its events, after its rules ran.
#[derive(Clone, Debug, Default)]
pub struct NewRows {
    /// New messages.
    pub messages: Vec<message::Model>,
    /// Uploaded attachments that the write takes.
    pub claims: Vec<AttachmentClaim>,
    /// New attachments.
    pub attachments: Vec<attachment::Model>,
}

/// Templates that a write uses: those that are rendered, and those that it found unrendered. A write set renders nothing itself: the planner
/// takes the missing ones, has them rendered on a compute pool and plans again.
#[derive(Clone, Debug, Default)]
struct Texts {
    rendered: Arc<RenderedTexts>,
    missing: Vec<TextRequest>,
}

/// A write that is ready to be stored.
#[derive(Debug)]
pub struct CompletedWrite {
    /// The account's counters after it.
    pub counters: account_log::Model,
    /// Its new rows.
    pub rows: NewRows,
    /// Its events with their sequence numbers.
    pub entries: Vec<EventRecord>,
}

impl WriteSet {
    /// Opens the write set that follows the account's counters.
    pub fn open(account: Arc<account::Model>, counters: account_log::Model, caller: &Caller, traceparent: &str) -> Self {
        let actor = (!caller.is_parley()).then(|| caller.actor(account.id));
        let tick = if parley_fault::is_on(Protection::MonotonicTimes) {
            TICK
        } else {
            Duration::ZERO
        };
        // Later than every write before it, even when the clock went back: cache keys rely on it.
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

    /// The sequence number of the next event, which is also the version of the row that the event is about.
    pub fn next_seq(&self) -> Seq {
        let ahead = i64::try_from(self.drafts.len()).unwrap_or(i64::MAX);
        Seq(self.counters.head_seq.0 + ahead + 1)
    }

    /// Allocates a message id.
    pub fn allocate_message_id(&mut self) -> MessageId {
        self.counters.last_message_id.0 += 1;
        self.counters.last_message_id
    }

    /// Allocates a conversation number.
    pub fn allocate_conversation_id(&mut self) -> ConversationId {
        self.counters.last_conversation_id.0 += 1;
        self.counters.last_conversation_id
    }

    /// Adds a message to store.
    pub fn insert_message(&mut self, row: message::Model) {
        self.rows.messages.push(row);
    }

    /// Adds an uploaded attachment to take.
    pub fn claim_attachment(&mut self, claim: AttachmentClaim) {
        self.rows.claims.push(claim);
    }

    /// Adds an attachment to store.
    pub fn insert_attachment(&mut self, row: attachment::Model) {
        self.rows.attachments.push(row);
    }

    /// Sets the texts that were rendered for this write.
    pub fn set_rendered_texts(&mut self, rendered: Arc<RenderedTexts>) {
        self.texts.rendered = rendered;
    }

    /// A template rendered for a conversation. `None` if it cannot be rendered, or was not rendered yet: then [`WriteSet::take_missing_texts`]
    /// returns it.
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

    /// Takes the templates that were requested and are not rendered.
    pub fn take_missing_texts(&mut self) -> Vec<TextRequest> {
        std::mem::take(&mut self.texts.missing)
    }

    /// Adds an event.
    pub fn emit(&mut self, draft: PendingEvent) {
        self.drafts.push(draft);
    }

    /// The events added so far.
    pub fn drafts(&self) -> &[PendingEvent] {
        &self.drafts
    }

    /// The newest message that an event added so far is about.
    pub fn newest_message(&self) -> Option<&Message> {
        self.drafts.iter().rev().find_map(|draft| match &draft.subject {
            Subject::Message(message, _) => Some(message.as_ref()),
            _ => None,
        })
    }

    /// The position after the events added so far. Without an event of this write it has no mark: the event there is an earlier write's.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            account: self.account.id,
            epoch: self.counters.epoch,
            seq: Seq(self.next_seq().0 - 1),
            mark: (!self.drafts.is_empty()).then_some(self.mark),
        }
    }

    /// Completes the write: every event gets its sequence number and its encoded bytes.
    pub fn close(self) -> CompletedWrite {
        let envelope = WriteMetadata {
            account: self.account,
            mark: self.mark,
            actor: self.actor,
            traceparent: self.traceparent,
            at: self.at,
        };
        let entries = encode_all(&self.drafts, &envelope, self.counters.head_seq);
        let mut counters = self.counters;
        if let Some(last) = entries.last() {
            counters.head_seq = last.seq;
            counters.last_occurred_at = self.at;
        }
        CompletedWrite {
            counters,
            rows: self.rows,
            entries,
        }
    }
}
