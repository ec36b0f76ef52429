//! Statements 12 to 14: durable consumers, their commits, their shards and their credit.

use std::collections::{BTreeMap, BTreeSet};

use super::Complaints;
use crate::history::{History, Session, Work};

fn given(session: &Session) -> impl Iterator<Item = (u64, &str, u64)> {
    session.steps.iter().filter_map(|step| match step {
        Work::Given(seq, id, fingerprint) => Some((*seq, id.as_str(), *fingerprint)),
        _ => None,
    })
}

/// Durable consumers receive the same log: every event as it is in the log, and all of them where required.
pub fn statement_12_two_calls(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    let archive = history.archive(1);
    let mut worked = BTreeSet::new();
    for session in &history.sessions {
        for (seq, id, fingerprint) in given(session) {
            if session.consumer == "workers" {
                worked.insert(seq);
            }
            let same = archive.events.get(&seq).is_some_and(|event| {
                let erased = event.contact.is_some_and(|contact| history.erased_contacts(1).contains(&contact));
                event.event_id == id && (event.fingerprint == fingerprint || erased)
            });
            if !same {
                complaints.push(format!("shard {}: {seq} came otherwise than the log has it", session.shard));
            }
        }
    }
    if history.worked {
        let missed: Vec<&u64> = archive.events.keys().filter(|seq| !worked.contains(seq)).collect();
        if let Some(first) = missed.first() {
            complaints.push(format!("no worker was given {} events, the first is {first}", missed.len()));
        }
    }
    complaints
}

/// Each event belongs to one shard, fencing numbers of sessions are unique, committed positions only increase, and a session receives
/// nothing that an older session has committed.
pub fn statement_13_consume_commits_cumulatively(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    let mut shards: BTreeMap<(&str, u64), u32> = BTreeMap::new();
    let mut by_fence: BTreeMap<(&str, u32, u64), &Session> = BTreeMap::new();
    for session in &history.sessions {
        let mut before = 0;
        for (seq, ..) in given(session) {
            let shard = *shards.entry((session.consumer, seq)).or_insert(session.shard);
            if shard != session.shard {
                complaints.push(format!("{seq} was given to the shards {shard} and {}", session.shard));
            }
            if seq <= before {
                complaints.push(format!("shard {}, fence {}: {seq} after {before}", session.shard, session.fence));
            }
            before = seq;
        }
        if by_fence.insert((session.consumer, session.shard, session.fence), session).is_some() {
            complaints.push(format!("shard {}: two sessions with the fence {}", session.shard, session.fence));
        }
    }
    let mut reached: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for ((consumer, shard, fence), session) in by_fence {
        let reached = reached.entry((consumer, shard)).or_default();
        if let Some((again, ..)) = given(session).find(|(seq, ..)| *seq <= *reached) {
            complaints.push(format!("shard {shard}, fence {fence}: {again} came again, {reached} was committed"));
        }
        for step in &session.steps {
            let Work::Committed(cursor) = step else { continue };
            let Some(place) = history.place(1, cursor) else { continue };
            if place < *reached {
                complaints.push(format!("shard {shard}, fence {fence}: {place} was stored after {reached}"));
            }
            *reached = place.max(*reached);
        }
    }
    complaints
}

/// The number of delivered events never exceeds the granted credit.
pub fn statement_14_credit(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for session in &history.sessions {
        let (mut granted, mut given) = (0, 0);
        for step in &session.steps {
            match step {
                Work::Granted(events) => granted += events,
                Work::Given(..) => given += 1,
                Work::Committed(_) => {}
            }
            if given > granted {
                complaints.push(format!(
                    "shard {}, fence {}: {given} events were given, {granted} granted",
                    session.shard, session.fence
                ));
                break;
            }
        }
    }
    complaints
}
