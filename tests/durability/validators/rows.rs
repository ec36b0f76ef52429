//! Statements 5, 18 and 20: events and rows, acknowledged writes, and the envelope.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Complaints, called};
use crate::{
    archive::{Archive, Logged, names},
    history::{Acknowledged, History},
};

/// Rows and events exist together, an acknowledged write exists exactly once and as acknowledged, and nothing exists that nobody requested.
pub fn statement_05_no_phantom_no_orphan(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for (account, archive) in &history.archives {
        messages(*account, archive, &mut complaints);
        things(*account, archive, "contact", &archive.contacts, &mut complaints);
        things(*account, archive, "conversation", &archive.conversations, &mut complaints);
    }
    acknowledged(history, &mut complaints);
    for heard in &history.heard {
        let archive = history.archive(heard.account);
        let there: BTreeSet<i64> = created(archive, "message.created")
            .filter_map(|event| event.resource.map(|(_, id)| id))
            .collect();
        // Tombstones contain no resource id, so an erased message cannot be recognized.
        let erased = created(archive, "message.created").any(|event| event.tombstone);
        for message in heard.messages.iter().filter(|message| !erased && !there.contains(message)) {
            complaints.push(format!("/cable of account {}: message {message} is nowhere", heard.account));
        }
    }
    complaints
}

fn created<'a>(archive: &'a Archive, kind: &str) -> impl Iterator<Item = &'a Logged> {
    let kind = kind.to_owned();
    archive.events.values().filter(move |event| event.kind_name == kind)
}

/// Conversations that were deleted together with their messages, by themselves or with their contact.
fn gone(archive: &Archive) -> BTreeSet<i64> {
    let contacts: BTreeSet<i64> = created(archive, "contact.deleted").filter_map(|event| event.contact).collect();
    let by_contact = archive
        .events
        .values()
        .filter(|event| event.contact.is_some_and(|contact| contacts.contains(&contact)));
    let own = created(archive, "conversation.deleted");
    by_contact.chain(own).filter_map(|event| event.conversation).collect()
}

fn messages(account: i64, archive: &Archive, complaints: &mut Complaints) {
    let gone = gone(archive);
    let mut logged: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for event in created(archive, "message.created") {
        if let (Some(conversation), Some((number, _))) = (event.conversation, &event.message) {
            logged.entry(conversation).or_default().push(*number);
        }
    }
    let conversations: BTreeSet<i64> = logged.keys().chain(archive.messages.keys()).copied().collect();
    for conversation in conversations.difference(&gone) {
        let events = logged.get(conversation).map(Vec::as_slice).unwrap_or_default();
        let rows: Vec<u64> = archive
            .messages
            .get(conversation)
            .into_iter()
            .flatten()
            .map(|(number, _)| *number)
            .collect();
        if events != rows {
            let (rows, events) = (rows.len(), events.len());
            complaints.push(format!(
                "conversation {conversation} of account {account}: {rows} rows, {events} events, not the same"
            ));
        }
    }
}

fn things(account: i64, archive: &Archive, what: &str, rows: &BTreeSet<i64>, complaints: &mut Complaints) {
    let id = |event: &Logged| if what == "contact" { event.contact } else { event.conversation };
    let mut expected: BTreeSet<i64> = created(archive, &format!("{what}.created")).filter_map(id).collect();
    for event in created(archive, &format!("{what}.deleted")) {
        expected.remove(&id(event).unwrap_or_default());
    }
    if what == "conversation" {
        expected = expected.difference(&gone(archive)).copied().collect();
    }
    let orphans: Vec<_> = rows.difference(&expected).collect();
    let phantoms: Vec<_> = expected.difference(rows).collect();
    if !orphans.is_empty() || !phantoms.is_empty() {
        complaints.push(format!(
            "account {account}: {what}s without events: {orphans:?}, without rows: {phantoms:?}"
        ));
    }
}

fn acknowledged(history: &History, complaints: &mut Complaints) {
    let mut places: HashMap<(i64, &str), Vec<&Logged>> = HashMap::new();
    for (account, archive) in &history.archives {
        for event in created(archive, "message.created") {
            if let Some((_, text)) = &event.message {
                places.entry((*account, text)).or_default().push(event);
            }
        }
    }
    let gone: BTreeMap<i64, BTreeSet<i64>> = history
        .archives
        .iter()
        .map(|(account, archive)| (*account, gone(archive)))
        .collect();
    let mut asked = BTreeSet::new();
    for told in history.writers.iter().flatten() {
        asked.insert((told.account, told.text.as_str()));
        match places.get(&(told.account, told.text.as_str())).map(Vec::as_slice) {
            // The message was erased before its event was copied, so its text is unknown.
            None if gone.get(&told.account).is_some_and(|gone| gone.contains(&told.conversation)) => {}
            None => complaints.push(format!("{:?} was acknowledged and is not there", told.text)),
            Some([event]) if !as_told(told, event) => {
                complaints.push(format!("{told:?} is {:?} {:?} in the log", event.resource, event.message));
            }
            Some([_]) => {}
            Some(events) => complaints.push(format!("{:?} is there {} times", told.text, events.len())),
        }
    }
    for (place, _) in places.iter().filter(|((_, text), _)| text.starts_with("writer ")) {
        if !asked.contains(place) {
            complaints.push(format!("{:?} is there, and nobody was told", place.1));
        }
    }
}

fn as_told(told: &Acknowledged, event: &Logged) -> bool {
    let number = event.message.as_ref().map(|(number, _)| *number);
    event.conversation == Some(told.conversation)
        && event.resource == Some(("message", told.message))
        && (told.number.is_none() || told.number == number)
}

/// The cursor of a reply is that of the last event of its write, which holds the requested change; a read with that cursor on another
/// replica returns the write.
pub fn statement_18_read_your_writes(history: &History) -> Complaints {
    let missed = history.read_backs.iter().filter(|read| !read.found);
    let mut complaints: Complaints = missed.map(|read| format!("{:?} was not there", read.text)).collect();
    let writes = history
        .done
        .iter()
        .map(|done| (done.account, &done.cursor, format!("{} of {:?}", done.verb, done.resource)));
    let messages = history.writers.iter().flatten().filter_map(|told| {
        let cursor = told.cursor.as_ref()?;
        Some((told.account, cursor, told.text.clone()))
    });
    for (account, cursor, what) in writes.chain(messages) {
        let place = history.place(account, cursor);
        let last = place.and_then(|place| history.archive(account).events.get(&place));
        if !last.is_some_and(|event| event.transaction_end) {
            complaints.push(format!("{what}: its cursor stands at {place:?}, which ends no write"));
        }
    }
    for done in &history.done {
        let archive = history.archive(done.account);
        let Some(last) = history
            .place(done.account, &done.cursor)
            .and_then(|place| archive.events.get(&place))
        else {
            continue;
        };
        let mut write = archive.events.range(last.transaction_id..=last.seq).map(|(_, event)| event);
        let of = |event: &Logged| match done.resource {
            // Only the columns of a tombstone say what the event was about.
            ("contact", id) => event.contact == Some(id),
            ("conversation", id) => event.conversation == Some(id),
            resource => event.resource == Some(resource) || event.tombstone,
        };
        if !write.any(|event| event.kind_name == done.kind && of(event)) {
            complaints.push(format!(
                "{} of {:?}: no {} in its write at {}",
                done.verb, done.resource, done.kind, last.seq
            ));
        }
    }
    complaints
}

/// Every event has all fields that the envelope promises, contains no credential, and is identical for all readers at all times, except
/// after erasure.
pub fn statement_20_one_envelope(history: &History) -> Complaints {
    let mut complaints = Vec::new();
    for (account, archive) in &history.archives {
        for event in archive.events.values().filter(|event| !event.whole) {
            complaints.push(format!(
                "account {account}: something is missing in {} at {}",
                event.kind_name, event.seq
            ));
        }
        for secret in &history.secrets {
            for event in archive.events.values().filter(|event| names(&event.payload, secret)) {
                complaints.push(format!(
                    "account {account}: {} at {} holds a credential",
                    event.kind_name, event.seq
                ));
            }
        }
    }
    for heard in &history.heard {
        let leaked = |said: &&String| history.secrets.iter().any(|secret| said.contains(secret));
        if let Some(said) = heard.said.iter().find(leaked) {
            complaints.push(format!("/cable of account {}: a credential in {said}", heard.account));
        }
    }
    for section in &history.sections {
        let archive = history.archive(section.account);
        for delivered in section.events() {
            let (Some(event), Some(fingerprint)) = (archive.events.get(&delivered.seq), delivered.fingerprint) else {
                continue;
            };
            if fingerprint != event.fingerprint && !delivered.tombstone && !event.tombstone {
                complaints.push(format!("{}: {} came otherwise than the log has it", called(section), delivered.seq));
            }
        }
    }
    complaints
}
