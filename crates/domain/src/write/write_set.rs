//! A ledger: what one write makes, before any of it is stored.

use std::{sync::Arc, time::Duration};

use parley_eventlog::{
    cursor::Cursor,
    draft::{Actor, Draft, Envelope, Subject, place_all},
    entry::Entry,
    mark::Mark,
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

use crate::{
    auth::caller::Caller,
    messages::liquid::{Rendered, Request},
};

/// How much later a write is than the one before it, at least.
const TICK: Duration = Duration::from_micros(1);

/// An attachment that is taken.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The attachment.
    pub id: i64,
    /// The message that takes it; 0: something else does.
    pub message: MessageId,
    /// Its place among those of the message.
    pub position: usize,
}

/// Gives out the numbers of one write and collects what it makes. Nothing in it is stored until the writer says so: a
/// ledger that is dropped leaves no trace.
#[derive(Clone, Debug)]
pub struct WriteSet {
    /// The account.
    pub account: Arc<account::Model>,
    /// When the write happens: later than every earlier write of the account.
    pub at: Micros,
    mark: Mark,
    counters: account_log::Model,
    drafts: Vec<Draft>,
    messages: Vec<message::Model>,
    claims: Vec<Claim>,
    attachments: Vec<attachment::Model>,
    texts: Texts,
    actor: Option<Actor>,
    traceparent: String,
}

/// Templates that a write uses: those that were rendered, and those that it found unrendered. A ledger renders nothing itself: whoever plans
/// takes the missing ones, has them rendered on a compute pool and plans again.
#[derive(Clone, Debug, Default)]
struct Texts {
    rendered: Arc<Rendered>,
    missing: Vec<Request>,
}

/// A write that is ready to be stored.
#[derive(Debug)]
pub struct CompletedWrites {
    /// The counters after it.
    pub counters: account_log::Model,
    /// Its messages.
    pub messages: Vec<message::Model>,
    /// The uploads that its messages take.
    pub claims: Vec<Claim>,
    /// The attachments that are stored with its messages.
    pub attachments: Vec<attachment::Model>,
    /// Its events, at their places.
    pub entries: Vec<Entry>,
}

impl WriteSet {
    /// Opens the ledger of one write after the counters as they stand.
    pub fn open(account: Arc<account::Model>, counters: account_log::Model, caller: &Caller, traceparent: &str) -> Self {
        let actor = (!caller.is_parley()).then(|| caller.actor(account.id));
        let tick = if parley_fault::is_on(Protection::RisingStamps) {
            TICK
        } else {
            Duration::ZERO
        };
        // Later than every write before it, also when the clock went back: cache keys rest on it.
        let at = Micros::now().max(counters.last_occurred_at.plus(tick));
        Self {
            account,
            at,
            mark: Mark::random(at),
            counters,
            drafts: Vec::new(),
            messages: Vec::new(),
            claims: Vec::new(),
            attachments: Vec::new(),
            texts: Texts::default(),
            actor,
            traceparent: traceparent.to_owned(),
        }
    }

    /// The place that the next event gets: also the version of the row it speaks of.
    pub fn next_seq(&self) -> Seq {
        let ahead = i64::try_from(self.drafts.len()).unwrap_or(i64::MAX);
        Seq(self.counters.head_seq.0 + ahead + 1)
    }

    /// Takes a message id.
    pub fn take_message_id(&mut self) -> MessageId {
        self.counters.last_message_id.0 += 1;
        self.counters.last_message_id
    }

    /// Takes a conversation number.
    pub fn take_conversation_id(&mut self) -> ConversationId {
        self.counters.last_conversation_id.0 += 1;
        self.counters.last_conversation_id
    }

    /// Notes a message to store.
    pub fn message(&mut self, row: message::Model) {
        self.messages.push(row);
    }

    /// Notes an attachment that a message takes.
    pub fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// Notes an attachment to store.
    pub fn attachment(&mut self, row: attachment::Model) {
        self.attachments.push(row);
    }

    /// Hands over texts that were rendered for this write.
    pub fn set_rendered(&mut self, rendered: Arc<Rendered>) {
        self.texts.rendered = rendered;
    }

    /// A template rendered for a conversation; none if it cannot be rendered, or was not yet: then [`WriteSet::take_missing`] names it.
    pub fn rendered(&mut self, text: &str, conversation: &Conversation, sender: Option<&Sender>) -> Option<String> {
        let key = (conversation.row.id, text.to_owned());
        if let Some(rendered) = self.texts.rendered.get(&key) {
            return rendered.clone();
        }
        self.texts.missing.push(Request {
            text: key.1,
            conversation: conversation.clone(),
            sender: sender.cloned(),
        });
        None
    }

    /// The templates that were asked for and are not rendered.
    pub fn take_missing(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.texts.missing)
    }

    /// Notes an event.
    pub fn emit(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    /// What was noted so far.
    pub fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// The newest message noted so far, as its event tells it.
    pub fn newest_message(&self) -> Option<&Message> {
        self.drafts.iter().rev().find_map(|draft| match &draft.subject {
            Subject::Message(message, _) => Some(message.as_ref()),
            _ => None,
        })
    }

    /// The position after everything noted so far. Without an event of this write it has no mark: the event there is an earlier write's.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            account: self.account.id,
            epoch: self.counters.epoch,
            seq: Seq(self.next_seq().0 - 1),
            mark: (!self.drafts.is_empty()).then_some(self.mark),
        }
    }

    /// Closes the ledger: every event gets its place and its bytes.
    pub fn close(self) -> CompletedWrites {
        let envelope = Envelope {
            account: self.account,
            mark: self.mark,
            actor: self.actor,
            traceparent: self.traceparent,
            at: self.at,
        };
        let entries = place_all(&self.drafts, &envelope, self.counters.head_seq);
        let mut counters = self.counters;
        if let Some(last) = entries.last() {
            counters.head_seq = last.seq;
            counters.last_occurred_at = self.at;
        }
        CompletedWrites {
            counters,
            messages: self.messages,
            claims: self.claims,
            attachments: self.attachments,
            entries,
        }
    }
}
