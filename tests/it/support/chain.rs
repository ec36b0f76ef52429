//! The contract's rules for a sequence of deliveries: dense, ordered, unique, in whole writes, with a correct `prev_seq` chain.

use std::collections::BTreeSet;

use parley_proto::{Event, EventDelivery};

use super::reader::event;

/// Statements 1, 2 and 3 for a stream without a filter: sequence numbers are `first`, `first + 1` …, and each `prev_seq` names the previous
/// one.
#[track_caller]
pub fn assert_dense(deliveries: &[EventDelivery], first: u64) {
    let mut ids = BTreeSet::new();
    for (delivery, expected) in deliveries.iter().zip(first..) {
        let event = event(delivery);
        assert_eq!(event.seq, expected, "seq has neither hole nor turn");
        assert_eq!(
            delivery.prev_seq,
            expected - 1,
            "without a filter prev_seq is the seq before, at {expected}"
        );
        assert!(!delivery.cursor.is_empty(), "a delivery carries its cursor, at {expected}");
        assert!(ids.insert(&event.event_id), "event_id {} came twice", event.event_id);
    }
}

/// Statement 2 for a stream with a filter: exactly the matching events of the log, each with the sequence number of the previous match.
#[track_caller]
pub fn assert_filtered(deliveries: &[EventDelivery], log: &[EventDelivery], after: u64, matches: impl Fn(&Event) -> bool) {
    let matching: Vec<u64> = log
        .iter()
        .map(event)
        .filter(|event| matches(event))
        .map(|event| event.seq)
        .collect();
    let expected: Vec<(u64, u64)> = matching
        .iter()
        .enumerate()
        .map(|(index, &seq)| (if index == 0 { 0 } else { matching[index - 1] }, seq))
        .filter(|&(_, seq)| seq > after)
        .collect();
    let sent: Vec<(u64, u64)> = deliveries.iter().map(|delivery| (delivery.prev_seq, event(delivery).seq)).collect();
    assert_eq!(
        sent, expected,
        "(prev_seq, seq) of the filtered stream after {after}, against the log"
    );
}

/// Statement 4: the events of one write are consecutive, share the first one's sequence number as `transaction_id`, and only the last has
/// `transaction_end`.
#[track_caller]
pub fn assert_whole_writes(deliveries: &[EventDelivery]) {
    for write in writes(deliveries) {
        let first = event(write[0]).seq;
        for (index, delivery) in write.iter().enumerate() {
            let event = event(delivery);
            assert_eq!(event.transaction_id, first, "the write that begins at {first}");
            assert_eq!(
                event.transaction_end,
                index + 1 == write.len(),
                "only the last event ends the write of {first}"
            );
        }
    }
}

/// The deliveries grouped by write. Panics if they end within a write.
#[track_caller]
pub fn writes(deliveries: &[EventDelivery]) -> Vec<Vec<&EventDelivery>> {
    let mut writes = Vec::new();
    let mut open = Vec::new();
    for delivery in deliveries {
        open.push(delivery);
        if event(delivery).transaction_end {
            writes.push(std::mem::take(&mut open));
        }
    }
    assert!(open.is_empty(), "the run ends within a write: {open:?}");
    writes
}
