//! The tail cache: the newest events of a followed account, in memory and ready to send.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use parley_proto::{delivery::put_delivery, frame::Frame};
use parley_types::{
    id::{Epoch, Seq},
    time::Micros,
};

use crate::{Config, cursor::Cursor, event_record::EventRecord, filter::Filter, mark::Mark};

/// Upper bound for the bytes that a delivery adds to a payload: tags, lengths, `prev_seq` and the cursor.
const ENVELOPE: usize = 64;

/// Consecutive events that arrived together, with their deliveries to unfiltered subscribers encoded back to back.
#[derive(Debug)]
pub(super) struct TailRun {
    entries: Vec<EventRecord>,
    deliveries: Bytes,
    /// For each entry, the offset in `deliveries` at which its delivery ends.
    ends: Vec<usize>,
}

impl TailRun {
    /// Encodes consecutive entries as they are delivered to unfiltered subscribers.
    pub fn new(epoch: Epoch, entries: Vec<EventRecord>) -> Self {
        let mut out = BytesMut::with_capacity(entries.iter().map(|entry| entry.payload.len() + ENVELOPE).sum());
        let mut ends = Vec::with_capacity(entries.len());
        for entry in &entries {
            put(&mut out, epoch, entry, Seq(entry.seq.0 - 1));
            ends.push(out.len());
        }
        Self {
            entries,
            deliveries: out.freeze(),
            ends,
        }
    }

    fn first(&self) -> Seq {
        self.entries.first().map_or(Seq(0), |entry| entry.seq)
    }

    fn last(&self) -> Seq {
        self.entries.last().map_or(Seq(0), |entry| entry.seq)
    }
}

/// Encodes an event as it is delivered to subscribers, with `prev_seq` and cursor, and appends it to `out`.
fn put(out: &mut BytesMut, epoch: Epoch, entry: &EventRecord, prev: Seq) {
    let cursor = Cursor {
        account: entry.account,
        epoch,
        seq: entry.seq,
        mark: entry.mark(),
    }
    .encode();
    put_delivery(out, prev.to_wire(), &cursor, &entry.payload);
}

/// The capacity of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameCapacity {
    /// Size in bytes at which the frame is full. A single event may be larger, in which case it is sent alone.
    pub bytes: usize,
    /// Maximum number of events, or `None` for no limit.
    pub events: Option<usize>,
}

/// The result of one read of the log for a subscriber.
#[derive(Debug, Default)]
pub(super) struct ReadBatch {
    /// The matching events, ready to send. May be empty.
    pub frame: Frame,
    /// The seq up to which the read covered the log.
    pub position: Seq,
    /// The mark of the event at the position. `None` if the read did not move the position.
    pub mark: Option<Mark>,
    /// The seq of the last matching event at or below the position.
    pub prev: Seq,
    /// The number of events in the frame.
    pub events: usize,
    /// Whether any event in the frame is about a contact and has no inbox.
    pub contacts: bool,
    /// The time of the last event in the frame; `None` if the frame is empty.
    pub at: Option<Micros>,
}

/// Collects the matching events from consecutive entries into a frame, until the frame is full. `prev` is the seq of the last matching
/// event before these entries.
pub(super) fn select<'a>(
    entries: impl Iterator<Item = &'a EventRecord>,
    epoch: Epoch,
    filter: &Filter,
    (position, prev): (Seq, Seq),
    capacity: FrameCapacity,
) -> ReadBatch {
    let mut batch = ReadBatch {
        frame: Frame::default(),
        position,
        mark: None,
        prev,
        events: 0,
        contacts: false,
        at: None,
    };
    let mut out = BytesMut::new();
    let mut last = None;
    for entry in entries {
        if out.len() >= capacity.bytes || capacity.events.is_some_and(|most| batch.events >= most) {
            break;
        }
        if filter.matches(entry) {
            // A frame may be larger than `capacity.bytes` only if it holds a single event, so clients need not accept messages that are
            // larger than both `capacity.bytes` and the largest event.
            if !out.is_empty() && out.len() + entry.payload.len() + ENVELOPE > capacity.bytes {
                break;
            }
            put(&mut out, epoch, entry, batch.prev);
            batch.prev = entry.seq;
            batch.events += 1;
            batch.contacts |= entry.contact.is_some() && entry.inbox.is_none();
            batch.at = Some(entry.occurred_at);
        }
        batch.position = entry.seq;
        last = Some(entry);
    }
    batch.mark = last.and_then(EventRecord::mark);
    batch.frame.push(out.freeze());
    batch
}

/// A bounded queue of consecutive runs of events.
#[derive(Debug)]
pub(super) struct Tail {
    runs: VecDeque<TailRun>,
    events: usize,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
    run_bytes: usize,
}

impl Tail {
    pub fn new(config: &Config) -> Self {
        Self {
            runs: VecDeque::new(),
            events: 0,
            bytes: 0,
            max_events: config.tail_events,
            max_bytes: config.tail_bytes,
            run_bytes: config.frame_bytes,
        }
    }

    /// Returns the seq of the newest event in the cache.
    pub fn last(&self) -> Option<Seq> {
        self.runs.back().map(TailRun::last)
    }

    pub fn clear(&mut self) {
        self.runs.clear();
        (self.events, self.bytes) = (0, 0);
    }

    /// Appends entries that continue the cache. The oldest runs are evicted if the cache is full.
    pub fn append(&mut self, epoch: Epoch, entries: Vec<EventRecord>) {
        let (mut run, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let size = entry.payload.len() + ENVELOPE;
            // A run is sent as a whole, so it must fit into a frame.
            if bytes + size > self.run_bytes && !run.is_empty() {
                self.push(TailRun::new(epoch, std::mem::take(&mut run)));
                bytes = 0;
            }
            bytes += size;
            run.push(entry);
        }
        if !run.is_empty() {
            self.push(TailRun::new(epoch, run));
        }
    }

    fn push(&mut self, run: TailRun) {
        self.events += run.entries.len();
        self.bytes += run.deliveries.len();
        self.runs.push_back(run);
        while (self.events > self.max_events || self.bytes > self.max_bytes)
            && let Some(oldest) = self.runs.pop_front()
        {
            self.events -= oldest.entries.len();
            self.bytes -= oldest.deliveries.len();
        }
    }

    /// Returns the events after a position, or `None` if the cache does not contain the next event.
    pub fn read(&self, epoch: Epoch, filter: &Filter, (position, prev): (Seq, Seq), capacity: FrameCapacity) -> Option<ReadBatch> {
        let from = position.next();
        if self.runs.front()?.first() > from || self.last()? < from {
            return None;
        }
        let start = self.runs.partition_point(|run| run.last() < from);
        let runs = self.runs.range(start..);
        if filter.is_open() && capacity.events.is_none() {
            return Some(read_runs(runs, position, capacity.bytes));
        }
        let entries = runs.flat_map(|run| &run.entries).filter(|entry| entry.seq >= from);
        Some(select(entries, epoch, filter, (position, prev), capacity))
    }
}

/// Returns the events after a position without filtering them: the encoded deliveries of as many runs as fit into a frame. All unfiltered
/// subscribers share these bytes.
fn read_runs<'a>(runs: impl Iterator<Item = &'a TailRun>, position: Seq, frame_bytes: usize) -> ReadBatch {
    let mut batch = ReadBatch {
        frame: Frame::default(),
        position,
        mark: None,
        prev: position,
        events: 0,
        contacts: false,
        at: None,
    };
    for run in runs {
        // The position may be inside the first run, whose earlier events are skipped.
        let skip = usize::try_from(batch.position.0 + 1 - run.first().0).unwrap_or_default();
        let start = skip.checked_sub(1).and_then(|last| run.ends.get(last)).copied().unwrap_or_default();
        let deliveries = run.deliveries.slice(start..);
        if !batch.frame.is_empty() && batch.frame.len() + deliveries.len() > frame_bytes {
            break;
        }
        batch.frame.push(deliveries);
        batch.events += run.entries.len() - skip;
        batch.position = run.last();
        let last = run.entries.last();
        batch.mark = last.and_then(EventRecord::mark);
        batch.at = last.map(|entry| entry.occurred_at);
    }
    batch.prev = batch.position;
    batch
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use parley_proto as pb;
    use parley_types::id::AccountId;

    /// Creates a cache for `max_events` events, with frames, and therefore runs, of `frame_bytes`.
    fn tail(max_events: usize, frame_bytes: usize) -> Tail {
        Tail::new(&Config {
            tail_events: max_events,
            tail_bytes: 1_000_000,
            frame_bytes,
            page_events: 100,
            poll_interval: Duration::from_secs(1),
            default_heartbeat: Duration::from_secs(1),
            max_streams: 1,
        })
    }

    fn entries(first: i64, count: i64) -> Vec<EventRecord> {
        let entry = |seq: i64| EventRecord {
            account: AccountId(1),
            seq: Seq(seq),
            transaction_id: Seq(seq),
            kind: i16::try_from(1 + seq % 3).unwrap(),
            inbox: None,
            conversation: None,
            contact: None,
            message_type: None,
            private: None,
            occurred_at: Micros(0),
            payload: pb::Event {
                seq: seq.cast_unsigned(),
                ..pb::Event::default()
            }
            .encode_to_vec()
            .into(),
        };
        (first..first + count).map(entry).collect()
    }

    /// More bytes than the delivery of such an event takes.
    const LARGEST: usize = 64;

    /// Reads to the end as a subscriber does. Returns `prev_seq` and seq of each event, or `None` if the cache does not reach back to
    /// `from`.
    fn read_all(tail: &Tail, filter: &Filter, from: i64, capacity: FrameCapacity) -> Option<Vec<(u64, u64)>> {
        let (mut position, mut prev, mut seen) = (Seq(from), Seq(from), Vec::new());
        while Some(position) != tail.last() {
            let batch = tail.read(Epoch(1), filter, (position, prev), capacity)?;
            assert!(batch.position > position, "a read makes progress");
            (position, prev) = (batch.position, batch.prev);
            let decoded = pb::SubscribeResponse::decode(batch.frame.concat()).unwrap();
            assert_eq!(decoded.events.len(), batch.events);
            assert!(capacity.events.is_none_or(|most| batch.events <= most));
            assert!(
                batch.events == 1 || batch.frame.len() < capacity.bytes + LARGEST,
                "a frame is bounded"
            );
            seen.extend(decoded.events.into_iter().map(|event| (event.prev_seq, event.event.unwrap().seq)));
        }
        Some(seen)
    }

    proptest! {
        #[test]
        fn every_match_is_delivered_once_and_chained(
            sizes in prop::collection::vec(1..40_i64, 1..8), from in 0..200_i64, kind in 0..4_i16, bytes in 1..400_usize,
            events in prop::option::of(1..5_usize),
        ) {
            let capacity = FrameCapacity { bytes, events };
            let mut tail = tail(1000, bytes);
            let mut next = 1;
            for size in sizes {
                tail.append(Epoch(1), entries(next, size));
                next += size;
            }
            let from = from.min(next - 1);
            let filter = Filter { kinds: Some(kind).filter(|kind| *kind > 0).into_iter().collect(), ..Filter::default() };
            let seen = read_all(&tail, &filter, from, capacity).unwrap();
            let expected: Vec<u64> = (from + 1..next).filter(|seq| kind == 0 || seq % 3 + 1 == i64::from(kind)).map(i64::cast_unsigned).collect();
            prop_assert_eq!(seen.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), expected);
            let mut prev = from.cast_unsigned();
            for (claimed, seq) in seen {
                prop_assert_eq!(claimed, prev);
                prev = seq;
            }
        }
    }

    #[test]
    fn evicted_events_are_read_from_the_database() {
        let mut tail = tail(10, 1000);
        for first in [1, 6, 11] {
            tail.append(Epoch(1), entries(first, 5));
        }
        let capacity = FrameCapacity { bytes: 1000, events: None };
        assert_eq!(read_all(&tail, &Filter::default(), 4, capacity), None);
        assert_eq!(read_all(&tail, &Filter::default(), 5, capacity).unwrap().len(), 10);
    }
}
