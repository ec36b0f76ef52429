//! The channel of one followed account: its tail cache and its watched head. It only wakes subscribers; they read the events themselves.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use parley_proto as pb;
use parley_types::id::{AccountId, Epoch, Seq};
use tokio::sync::{broadcast, watch};

use crate::{Config, event_record::EventRecord, log::LogRange, mark::Mark, tail::Tail};

/// The number of ephemeral events that a subscriber can lag behind before it loses some of them, which the contract allows.
pub(super) const EPHEMERAL_BACKLOG: usize = 64;

/// The kind of event that reports the deletion, and thereby the erasure, of a contact.
const CONTACT_DELETED: i16 = pb::EventKind::ContactDeleted as i16;

/// The tail cache and the watched head of one followed account.
#[derive(Debug)]
pub struct AccountChannel {
    pub(super) account: AccountId,
    pub(super) epoch: Epoch,
    pub(super) head: watch::Sender<Seq>,
    pub(super) tail: Mutex<Tail>,
    pub(super) ephemeral: broadcast::Sender<Arc<pb::EphemeralEvent>>,
    /// The newest known event, with its mark. It is kept when the tail cache is cleared.
    newest: Mutex<Option<(Seq, Mark)>>,
    /// Whether the log's history has been replaced, so that `epoch` is no longer current.
    replaced: AtomicBool,
}

impl AccountChannel {
    /// Creates a channel with an empty tail cache, which continues after the head.
    pub(super) fn new(range: &LogRange, config: &Config) -> Self {
        Self {
            account: range.account,
            epoch: range.epoch,
            head: watch::Sender::new(range.head),
            tail: Mutex::new(Tail::new(config)),
            ephemeral: broadcast::Sender::new(EPHEMERAL_BACKLOG),
            newest: Mutex::new(range.head_mark.map(|mark| (range.head, mark))),
            replaced: AtomicBool::new(false),
        }
    }

    /// Returns whether the history was replaced, in which case every subscriber must end with an error.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Marks the history as replaced and wakes the subscribers, which then end with an error.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
        self.head.send_modify(|_| {});
    }

    /// Returns the newest known event with its mark, by which a replaced history is detected.
    pub(super) fn newest(&self) -> Option<(Seq, Mark)> {
        *lock(&self.newest)
    }

    /// Returns the seq after which new events continue the tail cache.
    pub(super) fn position(&self) -> Seq {
        self.after(&lock(&self.tail))
    }

    /// Appends events that continue the tail cache, and wakes the subscribers. Events that are already in the cache are skipped. Returns
    /// `false` if events are missing before or between the given ones. If one of the events reports the deletion of a contact, the cache is
    /// cleared instead.
    pub(super) fn append(&self, mut entries: Vec<EventRecord>) -> bool {
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            return true;
        };
        let mut tail = lock(&self.tail);
        let position = self.after(&tail);
        entries.retain(|entry| entry.seq > position);
        let newest = entries.last().and_then(|entry| Some((entry.seq, entry.mark()?)));
        if entries.iter().any(|entry| entry.kind == CONTACT_DELETED) {
            // The cache may hold events of the deleted contact, so clear it: subscribers now read from the log, which redacts them.
            tail.clear();
        } else {
            match entries.first() {
                None => {}
                Some(first) if first.seq == position.next() && is_dense(first.seq, last, entries.len()) => tail.append(self.epoch, entries),
                Some(_) => return false,
            }
        }
        if newest.is_some() {
            *lock(&self.newest) = newest;
        }
        // Publish the head before releasing the tail's lock: an empty tail continues after the published head, so another thread could
        // otherwise append the cleared events again.
        self.publish_head(last);
        true
    }

    /// Moves the tail cache ahead so that it continues after `head`, because the events in between are no longer in the log.
    pub(super) fn skip_to(&self, head: Seq) {
        let mut tail = lock(&self.tail);
        if self.after(&tail) < head {
            tail.clear();
            self.publish_head(head);
        }
    }

    fn after(&self, tail: &Tail) -> Seq {
        tail.last().unwrap_or_else(|| *self.head.borrow())
    }

    /// Publishes a head and wakes subscribers, unless a later head was already published.
    fn publish_head(&self, head: Seq) {
        self.head.send_if_modified(|known| {
            let news = *known < head;
            *known = head.max(*known);
            news
        });
    }
}

/// Whether `count` events from `first` to `last`, each with a different seq, have no gap.
fn is_dense(first: Seq, last: Seq, count: usize) -> bool {
    usize::try_from(last.0 - first.0 + 1) == Ok(count)
}

/// Locks one of the event log's mutexes. A poisoned mutex still guards consistent data, because no code panics while it holds the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use parley_types::time::Micros;

    fn channel(head: i64) -> AccountChannel {
        let range = LogRange {
            account: AccountId(1),
            epoch: Epoch(1),
            earliest: Seq(1),
            head: Seq(head),
            head_mark: None,
            trimmed_mark: None,
        };
        AccountChannel::new(
            &range,
            &Config {
                tail_events: 100,
                tail_bytes: 10_000,
                frame_bytes: 1000,
                page_events: 100,
                poll_interval: Duration::from_secs(1),
                default_heartbeat: Duration::from_secs(1),
                max_streams: 1,
            },
        )
    }

    fn entries(seqs: impl Iterator<Item = i64>, kind: i16) -> Vec<EventRecord> {
        let entry = |seq: i64| EventRecord {
            account: AccountId(1),
            seq: Seq(seq),
            transaction_id: Seq(seq),
            kind,
            inbox: None,
            conversation: None,
            contact: None,
            message_type: None,
            private: None,
            occurred_at: Micros(0),
            payload: Bytes::from_static(b"x"),
        };
        seqs.map(entry).collect()
    }

    #[test]
    fn contiguous_events_are_published_and_gaps_are_not() {
        let channel = channel(3);
        assert!(channel.append(entries(4..=6, 1)));
        assert_eq!((channel.position(), *channel.head.borrow()), (Seq(6), Seq(6)));
        assert!(channel.append(entries(5..=7, 1)), "what is there already is skipped");
        assert!(!channel.append(entries(9..=9, 1)));
        assert!(!channel.append(entries([8, 10].into_iter(), 1)), "a hole inside");
        assert_eq!((channel.position(), *channel.head.borrow()), (Seq(7), Seq(7)));
    }

    #[test]
    fn tail_continues_after_a_trimmed_range() {
        let channel = channel(3);
        assert!(channel.append(entries(4..=6, 1)));
        channel.skip_to(Seq(20));
        assert_eq!((channel.position(), *channel.head.borrow()), (Seq(20), Seq(20)));
        channel.skip_to(Seq(10));
        assert_eq!(channel.position(), Seq(20), "never back");
        assert!(channel.append(entries(21..=21, 1)));
        assert_eq!(channel.position(), Seq(21));
    }

    #[test]
    fn erased_events_do_not_reenter_the_tail() {
        let channel = channel(3);
        assert!(channel.append(entries(4..=6, CONTACT_DELETED)));
        assert!(lock(&channel.tail).last().is_none());
        assert!(channel.append(entries(4..=5, 1)), "late, by another way");
        assert!(lock(&channel.tail).last().is_none());
        assert_eq!(channel.position(), Seq(6));
    }
}
