//! For each statement, histories that violate it: a validator that refuses nothing proves nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use parley_proto::{EventFilter, EventKind};
use tonic::Code;

use super::ALL;
use crate::{
    archive::{Archive, Logged, Look},
    history::{Acknowledged, Begin, Delivered, Done, Ending, History, ReadBack, ReaderApi, Section, Session, Step, Work},
};

const EVENTS: [(&str, EventKind, u64); 8] = [
    ("contact.created", EventKind::ContactCreated, 1),
    ("conversation.created", EventKind::ConversationCreated, 2),
    ("message.created", EventKind::MessageCreated, 3),
    ("conversation.updated", EventKind::ConversationUpdated, 3),
    ("message.created", EventKind::MessageCreated, 5),
    ("message.created", EventKind::MessageCreated, 6),
    ("contact.created", EventKind::ContactCreated, 7),
    ("contact.deleted", EventKind::ContactDeleted, 8),
];

fn cursor(seq: u64) -> Bytes {
    Bytes::from(format!("at {seq}"))
}

/// An event of a small log: contact 1 with conversation 1 and three messages, and contact 2, which was erased.
fn logged(seq: u64) -> Logged {
    let (name, kind, transaction_id) = EVENTS[usize::try_from(seq).expect("small") - 1];
    let number = [3, 5, 6].iter().position(|at| *at == seq).map(|index| index as u64 + 1);
    let contact = if seq < 7 { 1 } else { 2 };
    Logged {
        seq,
        transaction_id,
        transaction_end: seq != 3,
        event_id: format!("id-{seq}"),
        kind: kind.into(),
        kind_name: name.to_owned(),
        occurred_at: i64::try_from(seq).expect("small") * 1000,
        inbox: Some(1),
        conversation: (2..7).contains(&seq).then_some(1),
        contact: Some(contact),
        message_type: number.map(|_| 1),
        private: number.map(|_| false),
        resource: match name {
            "message.created" => Some(("message", i64::try_from(seq).expect("small") * 10)),
            "contact.created" => Some(("contact", contact)),
            "contact.deleted" => None,
            _ => Some(("conversation", 1)),
        },
        message: number.map(|number| (number, format!("writer 1 message {number}"))),
        fingerprint: seq,
        tombstone: seq == 8,
        whole: true,
        payload: Vec::new(),
    }
}

fn delivered(seq: u64, prev_seq: u64) -> Step {
    Step::Event(Delivered {
        seq,
        prev_seq,
        event_id: format!("id-{seq}"),
        fingerprint: Some(seq),
        cursor: cursor(seq),
        tombstone: seq >= 7,
    })
}

/// Sections of seven readers, in this order: all events with a broken stream in between, message events only, resumed after a cursor,
/// started at a time, started at the head, started with a snapshot, and started after all writers had stopped.
fn sections() -> Vec<Section> {
    let messages = EventFilter {
        kinds: vec![EventKind::MessageCreated.into()],
        ..EventFilter::default()
    };
    let section = |filter: &EventFilter, begin: Begin, steps: Vec<Step>| Section {
        floor: 1,
        steps,
        ..Section::new("reader", 1, ReaderApi::Grpc, filter.clone(), begin)
    };
    let run = |from: u64| (from..=8).map(|seq| delivered(seq, seq - 1)).collect::<Vec<_>>();
    let all = EventFilter::default();
    let mut broken = run(1);
    broken.insert(4, Step::Ended(Ending::Broken));
    broken.push(Step::Bookmark(8));
    let mut snapshot = section(&all, Begin::Snapshot, run(5));
    snapshot.complete = Some(cursor(4));
    snapshot.upserts = vec![("contact", 1, 1), ("conversation", 1, 4), ("message", 30, 3)];
    let mut latest = section(&all, Begin::Latest { head: 5 }, run(6));
    latest.floor = 6;
    let mut late = section(&all, Begin::Earliest, run(1));
    late.late = true;
    vec![
        section(&all, Begin::Earliest, broken),
        section(
            &messages,
            Begin::Earliest,
            vec![delivered(3, 0), delivered(5, 3), delivered(6, 5), Step::Bookmark(8)],
        ),
        section(&all, Begin::After(4), run(5)),
        section(&all, Begin::At { micros: 3500, head: 4 }, run(4)),
        latest,
        snapshot,
        late,
    ]
}

/// A history without violations.
fn good() -> History {
    let rows: BTreeMap<u64, Logged> = (1..=8).map(|seq| (seq, logged(seq))).collect();
    let archive = Archive {
        looks: vec![
            Look {
                after: 0,
                first: 1,
                last: 4,
                ended: true,
            },
            Look {
                after: 4,
                first: 5,
                last: 8,
                ended: true,
            },
        ],
        earliest: 1,
        head: 8,
        messages: [(1, vec![(1, 30), (2, 50), (3, 60)])].into(),
        contacts: [1].into(),
        conversations: [1].into(),
        events: rows.clone(),
        rows,
    };
    let told = |seq: u64, number: u64| Acknowledged {
        account: 1,
        text: format!("writer 1 message {number}"),
        conversation: 1,
        message: i64::try_from(seq).expect("small") * 10,
        number: Some(number),
        cursor: Some(cursor(if seq == 3 { 4 } else { seq })),
        in_order: true,
    };
    let given = |seq: u64| Work::Given(seq, format!("id-{seq}"), seq);
    let session = |fence: u64, steps: Vec<Work>| Session {
        consumer: "workers",
        shard: 0,
        fence,
        steps,
    };
    let mut history = History {
        archives: [(1, archive)].into(),
        writers: vec![vec![told(3, 1), told(5, 2), told(6, 3)]],
        done: vec![Done {
            account: 1,
            verb: "create_contact",
            kind: "contact.created",
            resource: ("contact", 2),
            cursor: cursor(7),
        }],
        read_backs: vec![ReadBack {
            text: "writer 1 message 3".to_owned(),
            found: true,
        }],
        sections: sections(),
        sessions: vec![
            session(
                1,
                [Work::Granted(5)]
                    .into_iter()
                    .chain((1..=5).map(given))
                    .chain([Work::Committed(cursor(4))])
                    .collect(),
            ),
            session(
                2,
                [Work::Granted(4)]
                    .into_iter()
                    .chain((5..=8).map(given))
                    .chain([Work::Committed(cursor(8))])
                    .collect(),
            ),
        ],
        epochs: [(1, ["0000000a".to_owned()].into())].into(),
        erased: vec![(1, 2, "Person 2".to_owned())],
        refusals: vec![
            ("what is no cursor", Code::InvalidArgument, String::new()),
            ("a cursor of another account", Code::PermissionDenied, String::new()),
            ("a cursor ahead of the log", Code::OutOfRange, "CURSOR_AHEAD_OF_LOG".to_owned()),
        ],
        secrets: vec!["a secret".to_owned()],
        worked: true,
        ..History::default()
    };
    history.place_cursors();
    history
}

fn archive(history: &mut History) -> &mut Archive {
    history.archives.get_mut(&1).expect("it is there")
}

fn event(history: &mut History, seq: u64) -> &mut Logged {
    archive(history).events.get_mut(&seq).expect("it is there")
}

fn lost(reason: &str, earliest: u64) -> Step {
    Step::Ended(Ending::Status {
        code: Code::OutOfRange,
        reason: reason.to_owned(),
        retry: false,
        metadata: [
            ("earliest_seq", earliest.to_string()),
            ("head_seq", "8".to_owned()),
            ("epoch", "a".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        cursor: false,
    })
}

fn ended(code: Code, reason: &str, retry: bool, cursor: bool) -> Step {
    Step::Ended(Ending::Status {
        code,
        reason: reason.to_owned(),
        retry,
        metadata: BTreeMap::new(),
        cursor,
    })
}

/// A change of a history that violates one statement.
type Doctor = fn(&mut History);

/// For each statement, at least one violation that its validator must detect.
const DOCTORED: &[(u8, &str, Doctor)] = &[
    (1, "two events come the other way round", |history| {
        history.sections[2].steps.swap(1, 2);
    }),
    (1, "an event becomes visible behind another", |history| {
        archive(history).looks[1].first = 6;
    }),
    (1, "a writer's messages stand the other way round", |history| {
        history.writers[0].swap(0, 1);
    }),
    (2, "the log has a hole", |history| drop(archive(history).events.remove(&4))),
    (2, "the head is ahead of the log", |history| archive(history).head = 9),
    (2, "a reader is given a hole", |history| drop(history.sections[2].steps.remove(1))),
    (2, "a filtered reader is told the wrong event before", |history| {
        history.sections[1].steps[1] = delivered(5, 4);
    }),
    (2, "a number in a conversation is left out", |history| {
        event(history, 5).message = Some((3, String::new()));
    }),
    (3, "an id stands twice", |history| event(history, 6).event_id = String::from("id-5")),
    (3, "an event comes twice", |history| {
        history.sections[2].steps.insert(1, delivered(5, 4));
    }),
    (3, "an event comes under another id", |history| {
        event(history, 5).event_id = String::from("id-50");
    }),
    (4, "a write is torn", |history| event(history, 4).transaction_id = 4),
    (4, "a write has no end", |history| event(history, 2).transaction_end = false),
    (4, "a part of a write is visible", |history| archive(history).looks[0].ended = false),
    (5, "a message's row is missing", |history| {
        drop(archive(history).messages.insert(1, vec![(1, 30), (2, 50)]));
    }),
    (5, "a contact's row is missing", |history| archive(history).contacts.clear()),
    (5, "a conversation has no event", |history| {
        archive(history).conversations.extend([2]);
    }),
    (5, "what was acknowledged is not there", |history| {
        history.writers[0][0].text.push('!');
    }),
    (5, "what was acknowledged is another message", |history| {
        history.writers[0][1].message = 7;
    }),
    (5, "something is there that nobody was told of", |history| {
        drop(history.writers[0].pop());
    }),
    (5, "what was acknowledged is there twice", |history| {
        event(history, 6).message = Some((3, "writer 1 message 2".to_owned()));
    }),
    (6, "a reader that comes back leaves one out", |history| {
        drop(history.sections[0].steps.remove(5));
    }),
    (6, "a cursor is taken one too far", |history| {
        history.sections[2].begin = Begin::After(3);
    }),
    (6, "a foreign cursor is unknown", |history| history.refusals[1].1 = Code::NotFound),
    (7, "what is kept is said to be gone", |history| {
        history.sections[0].steps.push(lost("CURSOR_EXPIRED", 5));
    }),
    (7, "what is gone is called something else", |history| {
        history.sections[0].steps.insert(1, lost("EPOCH_CHANGED", 5));
    }),
    (7, "a cursor from the future is waited for", |history| {
        history.refusals[2].1 = Code::DeadlineExceeded;
    }),
    (8, "a bookmark runs ahead", |history| {
        history.sections[0].steps.insert(3, Step::Bookmark(5));
    }),
    (8, "a bookmark goes back", |history| {
        history.sections[0].steps.extend([Step::Bookmark(7)]);
    }),
    (9, "the snapshot leaves something out", |history| {
        history.sections[5].upserts.truncate(2);
    }),
    (9, "a version is that of something else", |history| {
        history.sections[5].upserts[0].2 = 7;
    }),
    (9, "the tail has a gap to the snapshot", |history| {
        drop(history.sections[5].steps.remove(0));
    }),
    (10, "a reader at a time begins too early", |history| {
        history.sections[3].begin = Begin::At { micros: 4500, head: 6 };
    }),
    (10, "a reader at a time begins too late", |history| {
        history.sections[3].begin = Begin::At { micros: 2500, head: 4 };
    }),
    (10, "a reader of what comes next gets what was", |history| {
        history.sections[4].begin = Begin::Latest { head: 6 }
    }),
    (10, "a reader of what comes next misses some", |history| {
        history.sections[4].floor = 5;
    }),
    (10, "a reader from the beginning does not begin there", |history| {
        drop(history.sections[6].steps.remove(0));
    }),
    (11, "a filter lets something through", |history| {
        history.sections[1].steps.insert(1, delivered(4, 3));
    }),
    (11, "a filter holds something back", |history| {
        drop(history.sections[1].steps.remove(1));
    }),
    (12, "workers are given something else", |history| {
        history.sessions[0].steps[1] = Work::Given(1, "id-9".to_owned(), 1);
    }),
    (12, "no worker is given something", |history| {
        drop(history.sessions[1].steps.remove(2));
    }),
    (13, "what was committed comes again", |history| {
        history.sessions[1].steps.insert(1, Work::Given(4, "id-4".to_owned(), 4));
    }),
    (13, "a commit goes back", |history| {
        history.sessions[1].steps.push(Work::Committed(cursor(5)));
    }),
    (13, "two sessions have one fence", |history| history.sessions[1].fence = 1),
    (13, "an event goes to two shards", |history| history.sessions[1].shard = 1),
    (14, "more comes than was granted", |history| {
        history.sessions[1].steps[0] = Work::Granted(3);
    }),
    (15, "a slow reader is cut", |history| {
        history.sections[0]
            .steps
            .push(ended(Code::DeadlineExceeded, "STREAM_STALLED", false, true));
    }),
    (15, "a reader gets no further", |history| history.sections[0].stuck = true),
    (16, "a stream ends well", |history| {
        history.sections[0].steps.push(Step::Ended(Ending::Well));
    }),
    (16, "a rotation says no cursor", |history| {
        history.sections[0]
            .steps
            .push(ended(Code::Unavailable, "STREAM_ROTATED", true, false));
    }),
    (16, "a refusal does not say when to come back", |history| {
        history.sections[0]
            .steps
            .push(ended(Code::Unavailable, "DATABASE_UNAVAILABLE", false, false));
    }),
    (16, "a stream ends with a fault of the server", |history| {
        history.sections[0].steps.push(ended(Code::Internal, "INTERNAL", false, false));
    }),
    (17, "the log begins inside of a write", |history| archive(history).earliest = 4),
    (17, "a row is missing from what is kept", |history| {
        drop(archive(history).rows.remove(&5));
    }),
    (17, "a durable consumer loses what it has not committed", |history| {
        history.sessions[1].steps.pop();
        archive(history).earliest = 6;
    }),
    (18, "what was written is not read", |history| history.read_backs[0].found = false),
    (18, "a reply's cursor stands inside of its write", |history| {
        history.writers[0][0].cursor = Some(cursor(3));
    }),
    (18, "a reply's cursor is that of another write", |history| {
        history.done[0].cursor = cursor(6);
    }),
    (19, "the history changes without a restore", |history| {
        history.epochs.get_mut(&1).expect("it is there").insert("0000000b".to_owned());
    }),
    (20, "something is missing in an envelope", |history| event(history, 3).whole = false),
    (20, "an event is not what it was", |history| event(history, 5).fingerprint = 50),
    (20, "an event holds a credential", |history| {
        event(history, 2).payload = b"holds a secret here".to_vec();
    }),
    (21, "typing is about nothing", |history| {
        history.sections[0].steps.push(Step::Ephemeral(1));
    }),
    (21, "typing stands in the log", |history| {
        event(history, 4).kind_name = String::from("conversation.typing_on");
    }),
    (22, "an erased contact is read", |history| {
        if let Step::Event(delivered) = &mut history.sections[6].steps[6] {
            delivered.tombstone = false;
        }
    }),
    (22, "an erased contact's name stays", |history| {
        let row = archive(history).rows.get_mut(&7).expect("it is there");
        row.payload = b"hello Person 2".to_vec();
    }),
];

#[test]
fn valid_history_is_accepted() {
    assert_eq!(good().problems(), []);
}

#[test]
fn every_validator_refuses_its_violations() {
    for (statement, what, doctor) in DOCTORED {
        let mut history = good();
        doctor(&mut history);
        let complaints = ALL[usize::from(*statement) - 1](&history);
        assert!(!complaints.is_empty(), "statement {statement} takes it that {what}");
    }
    let tried: std::collections::BTreeSet<u8> = DOCTORED.iter().map(|(statement, ..)| *statement).collect();
    assert_eq!(tried.len(), ALL.len(), "each statement has a history that breaks it");
}
