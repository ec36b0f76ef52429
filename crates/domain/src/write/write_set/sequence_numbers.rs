//! Assigns sequence numbers: the events of a write are numbered consecutively, starting after the head of the log.

use parley_eventlog::pending_event::{WriteMetadata, encode_all};
use parley_types::id::Seq;

use super::{CompletedWrite, WriteSet};

impl WriteSet {
    /// Returns the sequence number of the next event, which is also the version of the row that the event is about.
    pub fn next_seq(&self) -> Seq {
        let ahead = i64::try_from(self.drafts.len()).unwrap_or(i64::MAX);
        Seq(self.counters.head_seq.0 + ahead + 1)
    }

    /// Completes the write: assigns a sequence number to every event and encodes it.
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
