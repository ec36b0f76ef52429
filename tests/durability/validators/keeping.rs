//! Statements 17, 19 and 22: retention, epochs and erasure.

use std::collections::BTreeMap;

use super::{Complaints, called};
use crate::{
    archive::names,
    history::{History, Work},
};

/// Trimming removes whole writes from the beginning of the log, nothing else is missing, and no durable consumer lost events that it had
/// not committed.
pub fn statement_17_retention(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for (account, archive) in &history.archives {
        if let Some(first) = archive.events.get(&archive.earliest)
            && first.transaction_id != first.seq
        {
            complaints.push(format!("account {account}: the log begins at {}, inside of a write", first.seq));
        }
        let kept: Vec<&u64> = archive.events.range(archive.earliest..).map(|(seq, _)| seq).collect();
        // Rows below may still exist: they are deleted after `earliest_seq` was raised.
        let rows: Vec<&u64> = archive.rows.range(archive.earliest..).map(|(seq, _)| seq).collect();
        if kept != rows {
            let (kept, rows) = (kept.len(), rows.len());
            complaints.push(format!("account {account}: {kept} events are to be kept, {rows} rows are there"));
        }
    }
    let mut committed: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for session in &history.sessions {
        let committed = committed.entry((session.consumer, session.shard)).or_default();
        for step in &session.steps {
            if let Work::Committed(cursor) = step {
                *committed = history.place(1, cursor).unwrap_or_default().max(*committed);
            }
        }
    }
    let earliest = history.archive(1).earliest;
    if let Some(least) = committed.values().min().filter(|least| history.worked && earliest > **least + 1) {
        complaints.push(format!("the log begins at {earliest}, a durable consumer stood at {least}"));
    }
    complaints
}

/// Nothing was restored, so every account had exactly one epoch.
pub fn statement_19_epoch(history: &History) -> Complaints {
    let several = history.epochs.iter().filter(|(_, epochs)| epochs.len() != 1);
    several
        .map(|(account, epochs)| format!("account {account} had the epochs {epochs:?}"))
        .collect()
}

/// Readers that start after an erasure receive tombstones, and at the end no row contains the erased name. Sequence numbers and counts are
/// unchanged.
pub fn statement_22_erasure(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for section in history.sections.iter().filter(|section| section.late) {
        let (archive, erased) = (history.archive(section.account), history.erased_contacts(section.account));
        for delivered in section.events().filter(|delivered| !delivered.tombstone) {
            let contact = archive.events.get(&delivered.seq).and_then(|event| event.contact);
            if contact.is_some_and(|contact| erased.contains(&contact)) {
                complaints.push(format!("{}: {} still speaks of {contact:?}", called(section), delivered.seq));
            }
        }
    }
    for (account, contact, name) in &history.erased {
        for (seq, row) in &history.archive(*account).rows {
            if names(&row.payload, name) {
                let (kind, about) = (&row.kind_name, row.contact);
                complaints.push(format!(
                    "account {account}: the row of {seq}, {kind} of contact {about:?}, names contact {contact}"
                ));
            }
        }
    }
    complaints
}
