//! What was recorded: what each client sent, was answered and received, and beside it the log as the database held it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use parley_proto::EventFilter;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{archive::Archive, traffic::cursor, validators};

/// A message that the server said it had stored.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its account.
    pub account: i64,
    /// Its text, unlike all others.
    pub text: String,
    /// The conversation's number.
    pub conversation: i64,
    /// Its id.
    pub message: i64,
    /// Its place in the conversation, where the door tells it.
    pub number: Option<u64>,
    /// The cursor of its write, where the door tells it.
    pub cursor: Option<Bytes>,
    /// It stands after what its writer was told before. A message that was repeated on a stream may stand after later ones.
    pub in_order: bool,
}

/// Another change that the server said it had made.
#[derive(Clone, Debug)]
pub struct Done {
    /// The account.
    pub account: i64,
    /// Its name, for people.
    pub verb: &'static str,
    /// The kind of event that it must have left.
    pub kind: &'static str,
    /// What of: the type of the event's resource and its id.
    pub resource: (&'static str, i64),
    /// The cursor of its write.
    pub cursor: Bytes,
}

/// A read that asked for what was just written, elsewhere.
#[derive(Clone, Debug)]
pub struct ReadBack {
    /// What was written.
    pub text: String,
    /// It was there.
    pub found: bool,
}

/// By which door a reader came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `Subscribe`.
    Grpc,
    /// Server-Sent Events.
    ServerSent,
    /// `parley tail`, a process of its own.
    Program,
    /// gRPC-Web over HTTP/1.1.
    Web,
}

/// Where a reader began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest event that was kept.
    Earliest,
    /// With what came next; the head as it was before the stream was opened.
    Latest { head: u64 },
    /// After this event.
    After(u64),
    /// With the first event at or after this time, in microseconds; the head as it was before the stream was opened. What was being committed then
    /// may come though it says an earlier time.
    At { micros: i64, head: u64 },
    /// With the present state.
    Snapshot,
}

/// An event as a reader was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its place in the log.
    pub seq: u64,
    /// What the delivery called the event before.
    pub prev_seq: u64,
    /// Identifies it for good.
    pub event_id: String,
    /// A hash of the whole event, where the door gives it whole.
    pub fingerprint: Option<u64>,
    /// The position after it.
    pub cursor: Bytes,
    /// Its personal data was erased.
    pub tombstone: bool,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Without a status of the server's: the line or the process broke.
    Broken,
    /// It was silent for longer than bookmarks allow.
    Silent,
    /// It ended well, without a status: that is never promised.
    Well,
    /// With a status: code, reason, whether it says when to come back, and its metadata.
    Status {
        code: Code,
        reason: String,
        retry: bool,
        metadata: BTreeMap<String, String>,
        /// The last cursor was in the trailers.
        cursor: bool,
    },
}

impl Ending {
    /// What a status says.
    pub fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let Some(info) = details.error_info() else { return Self::Broken };
        Self::Status {
            code: status.code(),
            reason: info.reason.clone(),
            retry: details.retry_info().is_some(),
            metadata: info.metadata.clone().into_iter().collect(),
            cursor: status.metadata().contains_key("parley-cursor-bin"),
        }
    }

    /// Whether the position cannot be continued.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Status {
                code: Code::OutOfRange,
                ..
            }
        )
    }
}

/// One thing that a reader saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An event.
    Event(Delivered),
    /// Everything at or below this place was sent.
    Bookmark(u64),
    /// The stream ended; what follows was read after the last cursor.
    Ended(Ending),
    /// Something ephemeral, about this conversation.
    Ephemeral(i64),
}

/// What one reader saw from one beginning on, over as many streams as it took.
#[derive(Clone, Debug)]
pub struct Section {
    /// Whose.
    pub reader: String,
    /// The account.
    pub account: i64,
    /// The door.
    pub door: Door,
    /// What it asked for.
    pub filter: EventFilter,
    /// Where it began.
    pub begin: Begin,
    /// An event that it may not have passed over: the oldest that was kept, or the first after the head, once its first stream had answered.
    /// 0: nobody could say.
    pub floor: u64,
    /// It began when everything else had ended.
    pub late: bool,
    /// What it saw.
    pub steps: Vec<Step>,
    /// The state it was given first: type, id and version.
    pub upserts: Vec<(&'static str, i64, u64)>,
    /// The cursor of the snapshot, once it was complete.
    pub complete: Option<Bytes>,
    /// It had to read to the end, and did not come there.
    pub stuck: bool,
}

impl Section {
    /// Nothing yet.
    pub fn new(reader: &str, account: i64, door: Door, filter: EventFilter, begin: Begin) -> Self {
        Self {
            reader: reader.to_owned(),
            account,
            door,
            filter,
            begin,
            floor: 0,
            late: false,
            steps: Vec::new(),
            upserts: Vec::new(),
            complete: None,
            stuck: false,
        }
    }

    /// The events, in the order they came.
    pub fn events(&self) -> impl Iterator<Item = &Delivered> {
        self.steps.iter().filter_map(|step| match step {
            Step::Event(delivered) => Some(delivered),
            _ => None,
        })
    }

    /// How far events and bookmarks reach.
    pub fn position(&self) -> u64 {
        let places = self.steps.iter().rev().filter_map(|step| match step {
            Step::Event(delivered) => Some(delivered.seq),
            Step::Bookmark(seq) => Some(*seq),
            _ => None,
        });
        places.max().unwrap_or_default()
    }

    /// The position after the last event.
    pub fn cursor(&self) -> Option<&Bytes> {
        self.events().last().map(|delivered| &delivered.cursor)
    }

    /// Nothing is filtered.
    pub fn is_whole(&self) -> bool {
        self.filter == EventFilter::default()
    }
}

/// What a front end at `/cable` heard, over all its connections. It has no cursor.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The account.
    pub account: i64,
    /// Connections.
    pub connections: usize,
    /// Ids of messages that were new, in the order in which they came.
    pub messages: Vec<i64>,
    /// What all events said.
    pub said: BTreeSet<String>,
}

/// A session of a durable consumer of account 1.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Which consumer.
    pub consumer: &'static str,
    /// Which shard.
    pub shard: u32,
    /// Its fencing number.
    pub fence: u64,
    /// In order: what was granted, given and committed.
    pub steps: Vec<Work>,
}

/// What happened in a session.
#[derive(Clone, Debug)]
pub enum Work {
    /// So many more events may be in flight.
    Granted(u64),
    /// An event was given: seq, id and hash.
    Given(u64, String, u64),
    /// A commit was answered with a position that reaches this far, in the order of commits.
    Committed(Bytes),
}

/// Something that was promised and does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The number of the statement; 0: outside the contract of the stream.
    pub statement: u8,
    /// What.
    pub text: String,
}

/// All that was recorded in one run.
#[derive(Debug, Default)]
pub struct History {
    /// The log of each account, as the database held it.
    pub archives: BTreeMap<i64, Archive>,
    /// What each writer was told, in its order.
    pub writers: Vec<Vec<Acknowledged>>,
    /// How many writers were told of nothing at all.
    pub idle: usize,
    /// Other changes.
    pub done: Vec<Done>,
    /// Good requests that were refused.
    pub refused: Vec<String>,
    /// Reads of what was just written.
    pub read_backs: Vec<ReadBack>,
    /// What readers saw.
    pub sections: Vec<Section>,
    /// What front ends heard.
    pub heard: Vec<Heard>,
    /// What durable consumers did.
    pub sessions: Vec<Session>,
    /// What was found where it was recorded: sessions of workers check their own order.
    pub found: Vec<Problem>,
    /// Epochs of each account, whenever somebody asked.
    pub epochs: BTreeMap<i64, BTreeSet<String>>,
    /// Conversations in which somebody typed.
    pub typed: BTreeSet<(i64, i64)>,
    /// Contacts that were erased, with a name that nobody else has.
    pub erased: Vec<(i64, i64, String)>,
    /// How cursors that must be refused were: what it was, the code and the reason.
    pub refusals: Vec<(&'static str, Code, String)>,
    /// Credentials, which no event may hold.
    pub secrets: Vec<String>,
    /// Workers had to be given everything of account 1.
    pub worked: bool,
    /// Where each cursor stands: [`Self::place_cursors`].
    pub places: HashMap<(i64, Vec<u8>), u64>,
}

impl History {
    /// Notes where each cursor stands, as readers were given them.
    pub fn place_cursors(&mut self) {
        for section in &self.sections {
            for delivered in section.events() {
                self.places.insert((section.account, delivered.cursor.to_vec()), delivered.seq);
            }
        }
    }

    /// Notes where the cursor of every event stands, whether anybody was given it or not. A cursor is made of the account, the epoch and the
    /// place.
    pub fn place_whole_logs(&mut self) {
        for (account, archive) in &self.archives {
            let Some(epoch) = self
                .epochs
                .get(account)
                .filter(|epochs| epochs.len() == 1)
                .and_then(BTreeSet::first)
            else {
                continue;
            };
            for seq in archive.events.keys() {
                let cursor = cursor(*account, epoch, *seq);
                self.places.entry((*account, cursor.to_vec())).or_insert(*seq);
            }
        }
    }

    /// Every promise that does not hold.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.found.clone();
        problems.extend(self.refused.iter().map(|text| Problem {
            statement: 0,
            text: format!("a good request was refused: {text}"),
        }));
        for (number, statement) in (1..).zip(validators::ALL) {
            problems.extend(statement(self).into_iter().map(|text| Problem { statement: number, text }));
        }
        if self.idle > 0 {
            problems.push(Problem {
                statement: 0,
                text: format!("{} writers wrote nothing: the run proves little", self.idle),
            });
        }
        problems
    }
}
