//! Statements 6 to 11: where readers start and resume, expired cursors, bookmarks, snapshots and filters.

use std::collections::HashSet;

use tonic::Code;

use super::{Complaints, called};
use crate::{
    archive::Archive,
    history::{Begin, Ending, History, Section, Step},
};

/// The first difference between the events that a section had to receive and those that it received.
fn difference(history: &History, section: &Section) -> Option<String> {
    let due = history.due(section);
    let given: Vec<u64> = section.events().map(|delivered| delivered.seq).collect();
    let due: Vec<u64> = due.iter().map(|event| event.seq).collect();
    if due == given {
        return None;
    }
    let at = due.iter().zip(&given).take_while(|(due, given)| due == given).count();
    let (due, given) = (due.get(at), given.get(at));
    Some(format!("{}: {due:?} was due, {given:?} was given", called(section)))
}

fn breaks(section: &Section) -> usize {
    let ends = |step: &&Step| matches!(step, Step::Ended(_));
    section.steps.iter().filter(ends).count()
}

/// A reader that resumes with a cursor receives the very next event, on any replica and after any restart. Cursors of other accounts and
/// malformed cursors are refused.
pub fn statement_06_resumable(history: &History) -> Complaints {
    let resumed = history
        .sections
        .iter()
        .filter(|section| matches!(section.begin, Begin::After(_)) || breaks(section) > 0);
    let mut complaints: Complaints = resumed.filter_map(|section| difference(history, section)).collect();
    for (what, code, reason) in &history.refusals {
        let right = match *what {
            "a cursor of another account" => *code == Code::PermissionDenied,
            "what is no cursor" => *code == Code::InvalidArgument,
            _ => true,
        };
        if !right {
            complaints.push(format!("{what} was refused with {code:?} {reason}"));
        }
    }
    complaints
}

/// A position that cannot be resumed is refused as such, with the range of the log, and only if it is really lost.
pub fn statement_07_an_expired_cursor_is_loud(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in &history.sections {
        let archive = history.archive(section.account);
        let mut position = 0;
        for step in &section.steps {
            match step {
                Step::Event(delivered) => position = delivered.seq,
                Step::Bookmark(seq) => position = *seq,
                Step::Ended(ending) if ending.is_lost() && !is_true(ending, position, archive) => {
                    complaints.push(format!("{} at {position}: {ending:?}", called(section)));
                }
                Step::Ended(_) | Step::Ephemeral(_) => {}
            }
        }
    }
    for (what, code, reason) in history.refusals.iter().filter(|(what, ..)| *what == "a cursor ahead of the log") {
        if *code != Code::OutOfRange || reason != "CURSOR_AHEAD_OF_LOG" {
            complaints.push(format!("{what} was refused with {code:?} {reason}"));
        }
    }
    complaints
}

fn is_true(ending: &Ending, position: u64, archive: &Archive) -> bool {
    let Ending::Status { reason, metadata, .. } = ending else {
        return false;
    };
    let number = |name: &str| metadata.get(name).and_then(|text| text.parse::<u64>().ok());
    let (Some(earliest), Some(head)) = (number("earliest_seq"), number("head_seq")) else {
        return false;
    };
    let expired = position + 1 < earliest && earliest <= archive.earliest && head <= archive.head;
    reason == "CURSOR_EXPIRED" && metadata.contains_key("epoch") && expired
}

/// At each bookmark, the reader has received every match at or below it, and bookmarks never go back.
pub fn statement_08_bookmarks_tell_the_truth(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in &history.sections {
        let due = history.due(section);
        let (mut given, mut last) = (0, 0);
        for step in &section.steps {
            match step {
                Step::Event(_) => given += 1,
                Step::Bookmark(seq) => {
                    let expected = due.partition_point(|event| event.seq <= *seq);
                    if given != expected {
                        complaints.push(format!(
                            "{}: a bookmark at {seq} after {given} events of {expected}",
                            called(section)
                        ));
                    }
                    if *seq < last {
                        complaints.push(format!("{}: a bookmark at {seq} after one at {last}", called(section)));
                    }
                    last = *seq;
                }
                Step::Ended(_) | Step::Ephemeral(_) => {}
            }
        }
    }
    complaints
}

/// A snapshot and the events after it are complete: what was created before the snapshot's cursor is an upsert unless it was deleted, later
/// changes are events, and a version is the sequence number of a change of that resource.
pub fn statement_09_snapshot_then_tail(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in history.sections.iter().filter(|section| section.begin == Begin::Snapshot) {
        let Some(complete) = &section.complete else { continue };
        let Some(place) = history.place(section.account, complete) else {
            complaints.push(format!("{}: its cursor is that of no event", called(section)));
            continue;
        };
        complaints.extend(difference(history, section));
        let archive = history.archive(section.account);
        for (what, id, version) in &section.upserts {
            let about = archive.events.get(version).is_some_and(|event| match *what {
                "contact" => event.contact == Some(*id),
                "conversation" => event.conversation == Some(*id),
                "inbox" => event.inbox == Some(*id),
                what => event.resource == Some((what, *id)) || event.tombstone,
            });
            if !about {
                complaints.push(format!("{}: {what} {id} has the version {version}", called(section)));
            }
        }
        if !section.is_whole() {
            // The behaviour tests check which resources a filter of events selects.
            continue;
        }
        let given: HashSet<_> = section.upserts.iter().map(|(what, id, _)| (*what, *id)).collect();
        for (what, id) in standing(archive, place) {
            if !given.contains(&(what, id)) {
                complaints.push(format!("{}: {what} {id} is not in the snapshot at {place}", called(section)));
            }
        }
    }
    complaints
}

/// The resources that were created at or before a sequence number and still exist at the end.
fn standing(archive: &Archive, place: u64) -> Vec<(&'static str, i64)> {
    let before = archive.events.range(..=place).map(|(_, event)| event);
    before
        .filter_map(|event| match event.kind_name.as_str() {
            "contact.created" => Some(("contact", event.contact?)).filter(|(_, id)| archive.contacts.contains(id)),
            "conversation.created" => Some(("conversation", event.conversation?)).filter(|(_, id)| archive.conversations.contains(id)),
            "message.created" => {
                let rows = archive.messages.get(&event.conversation?)?;
                let (number, _) = event.message.as_ref()?;
                event.resource.filter(|_| rows.iter().any(|(row, _)| row == number))
            }
            _ => None,
        })
        .collect()
}

/// A reader starts where it asked to: at the oldest kept event, after the head, after a cursor, or at a time.
pub fn statement_10_start_anywhere(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in &history.sections {
        let Some(first) = section.events().next().map(|delivered| delivered.seq) else {
            continue;
        };
        let early = match section.begin {
            Begin::Latest { head } => first <= head,
            _ => history.first_due(section).is_some_and(|due| first < due),
        };
        let late = history.due(section).first().is_some_and(|due| due.seq < first);
        if early || late {
            complaints.push(format!("{}: it was given {first} first", called(section)));
        }
    }
    complaints
}

/// A reader receives exactly the events that match its filter.
pub fn statement_11_filters(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in history.sections.iter().filter(|section| !section.is_whole()) {
        let archive = history.archive(section.account);
        for delivered in section.events() {
            if !archive
                .events
                .get(&delivered.seq)
                .is_some_and(|event| event.passes(&section.filter))
            {
                complaints.push(format!("{}: {} does not pass {:?}", called(section), delivered.seq, section.filter));
            }
        }
        complaints.extend(difference(history, section));
    }
    complaints
}
