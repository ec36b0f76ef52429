//! Statements 1 to 4: order, density, uniqueness and atomic writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Complaints, called};
use crate::history::{Delivered, History, Section};

/// Sequence numbers strictly increase for every reader, no event becomes visible before an earlier one, and the log has the messages of a
/// writer in the order of their acknowledgements.
pub fn statement_01_ordered(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in &history.sections {
        let seqs: Vec<u64> = section.events().map(|delivered| delivered.seq).collect();
        for pair in seqs.windows(2).filter(|pair| pair[0] >= pair[1]) {
            complaints.push(format!("{}: {} after {}", called(section), pair[1], pair[0]));
        }
    }
    for (account, archive) in &history.archives {
        for look in archive.looks.iter().filter(|look| look.first != look.after + 1) {
            complaints.push(format!(
                "account {account}: {} became visible before {}",
                look.first,
                look.after + 1
            ));
        }
    }
    for heard in &history.heard {
        for pair in heard.messages.windows(2).filter(|pair| pair[0] >= pair[1]) {
            complaints.push(format!(
                "/cable of account {}: message {} after {}",
                heard.account, pair[1], pair[0]
            ));
        }
    }
    let places = texts(history);
    for told in &history.writers {
        let mut before: BTreeMap<i64, u64> = BTreeMap::new();
        for told in told.iter().filter(|told| told.in_order) {
            let Some(place) = places.get(&(told.account, told.text.as_str())) else {
                continue;
            };
            let before = before.entry(told.account).or_default();
            if *place <= *before {
                complaints.push(format!(
                    "{:?} stands at {place}, behind {before}, which its writer was told first",
                    told.text
                ));
            }
            *before = *place;
        }
    }
    complaints
}

/// For each text, the sequence number of the first message with it.
fn texts(history: &History) -> HashMap<(i64, &str), u64> {
    let mut places = HashMap::new();
    for (account, archive) in &history.archives {
        for event in archive.events.values().filter(|event| event.kind_name == "message.created") {
            if let Some((_, text)) = &event.message {
                places.entry((*account, text.as_str())).or_insert(event.seq);
            }
        }
    }
    places
}

/// The log has no gaps. `prev_seq` is the previous sequence number for unfiltered readers and the previous match in the log for filtered
/// ones. The messages of a conversation are numbered 1, 2, 3 …
pub fn statement_02_dense(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for (account, archive) in &history.archives {
        let mut before = 0;
        for seq in archive.events.keys() {
            if *seq != before + 1 {
                complaints.push(format!("account {account}: {seq} follows {before} in the log"));
            }
            before = *seq;
        }
        if before != archive.head {
            complaints.push(format!(
                "account {account}: the log reads to {before}, its head is {}",
                archive.head
            ));
        }
        let mut numbers: BTreeMap<i64, u64> = BTreeMap::new();
        for event in archive.events.values().filter(|event| event.kind_name == "message.created") {
            let Some(conversation) = event.conversation else { continue };
            let last = numbers.entry(conversation).or_default();
            // A tombstone keeps its sequence number but has no message number.
            let number = event.message.as_ref().map_or(*last + 1, |(number, _)| *number);
            if number != *last + 1 {
                complaints.push(format!(
                    "conversation {conversation} of account {account}: message {number} follows {last}"
                ));
            }
            *last = number;
        }
    }
    for section in &history.sections {
        chain(history, section, &mut complaints);
    }
    complaints
}

fn chain(history: &History, section: &Section, complaints: &mut Complaints) {
    let archive = history.archive(section.account);
    let mut matching = archive.events.values().filter(|event| event.passes(&section.filter)).peekable();
    let mut before = 0;
    let mut last: Option<&Delivered> = None;
    for delivered in section.events() {
        while let Some(event) = matching.next_if(|event| event.seq < delivered.seq) {
            before = event.seq;
        }
        // The previous match may have been trimmed before or after the delivery. If it is trimmed by now, 0 is correct as well.
        let trimmed = delivered.prev_seq == 0 && before < archive.earliest;
        if delivered.prev_seq != before && !trimmed {
            let (at, told) = (delivered.seq, delivered.prev_seq);
            complaints.push(format!(
                "{} at {at}: {before} was the last to match before, it was told {told}",
                called(section)
            ));
        }
        if let Some(last) = last.filter(|last| delivered.prev_seq != last.seq) {
            let (at, told, last) = (delivered.seq, delivered.prev_seq, last.seq);
            complaints.push(format!(
                "{} at {at}: it was given {last} last, and was told {told}",
                called(section)
            ));
        }
        last = Some(delivered);
    }
}

/// An event id identifies one event permanently, and readers that resumed with their cursors received no event twice.
pub fn statement_03_unique(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for (account, archive) in &history.archives {
        let mut ids = BTreeSet::new();
        for event in archive.events.values().filter(|event| !ids.insert(&event.event_id)) {
            complaints.push(format!("account {account}: {} stands again at {}", event.event_id, event.seq));
        }
    }
    for section in &history.sections {
        let archive = history.archive(section.account);
        let mut ids = BTreeSet::new();
        for delivered in section.events() {
            if !ids.insert(&delivered.event_id) {
                complaints.push(format!("{}: {} came twice", called(section), delivered.seq));
            }
            let logged = archive.events.get(&delivered.seq).map(|event| &event.event_id);
            if logged != Some(&delivered.event_id) {
                let (seq, id) = (delivered.seq, &delivered.event_id);
                complaints.push(format!("{}: {seq} came as {id}, the log has {logged:?}", called(section)));
            }
        }
    }
    complaints
}

/// The events of one write are consecutive and share the first one's sequence number as `transaction_id`, only the last has
/// `transaction_end`, and no query of the log ever saw part of a write.
pub fn statement_04_atomic(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for (account, archive) in &history.archives {
        let mut expected = 1;
        for event in archive.events.values() {
            if event.transaction_id != expected {
                let (seq, transaction) = (event.seq, event.transaction_id);
                complaints.push(format!("account {account}: {seq} belongs to {transaction}, not to {expected}"));
            }
            expected = if event.transaction_end {
                event.seq + 1
            } else {
                event.transaction_id
            };
        }
        for look in archive.looks.iter().filter(|look| !look.ended) {
            complaints.push(format!("account {account}: a part of a write was visible, up to {}", look.last));
        }
    }
    complaints
}
