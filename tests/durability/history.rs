//! The recorded history of a run: what each client sent, what the server replied and delivered, and the log as it was in the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use parley_proto::EventFilter;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{archive::Archive, traffic::cursor, validators};

/// A message that the server acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub account: i64,
    /// Its text, which is unique.
    pub text: String,
    /// The number of the conversation.
    pub conversation: i64,
    /// The id of the message.
    pub message: i64,
    /// Its number in the conversation, if the API returns it.
    pub number: Option<u64>,
    /// The cursor of its write, if the API returns it.
    pub cursor: Option<Bytes>,
    /// Whether it must follow the message that its writer was acknowledged before. False for a message that was resent on a stream, which
    /// may follow later ones.
    pub in_order: bool,
}

/// Any other change that the server acknowledged.
#[derive(Clone, Debug)]
pub struct Done {
    pub account: i64,
    /// The name of the command, for reports.
    pub verb: &'static str,
    /// The kind of event that the change must have left.
    pub kind: &'static str,
    /// The type and id of the resource of that event.
    pub resource: (&'static str, i64),
    /// The cursor of its write.
    pub cursor: Bytes,
}

/// A read on another replica of what was just written, with a minimum cursor.
#[derive(Clone, Debug)]
pub struct ReadBack {
    /// The text that was written.
    pub text: String,
    /// Whether the read returned it.
    pub found: bool,
}

/// The API that a reader used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderApi {
    /// gRPC `Subscribe`.
    Grpc,
    /// Server-Sent Events.
    ServerSent,
    /// `parley tail`, in a separate process.
    Program,
    /// gRPC-Web over HTTP/1.1.
    Web,
}

/// Where a reader started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the oldest kept event.
    Earliest,
    /// After the head. `head` was read before the stream was opened.
    Latest { head: u64 },
    /// After this sequence number.
    After(u64),
    /// At the first event at or after this time, in microseconds. `head` was read before the stream was opened. An event that was being
    /// committed at that time may arrive although its own time is earlier.
    At { micros: i64, head: u64 },
    /// With a snapshot.
    Snapshot,
}

/// An event as a reader received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The sequence number.
    pub seq: u64,
    /// The `prev_seq` of the delivery.
    pub prev_seq: u64,
    /// The permanent id of the event.
    pub event_id: String,
    /// A hash of the encoded event, if the API delivers the whole event.
    pub fingerprint: Option<u64>,
    /// The cursor after the event.
    pub cursor: Bytes,
    /// Whether the event was a tombstone.
    pub tombstone: bool,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Without a status from the server: the connection or the process broke.
    Broken,
    /// It was silent for longer than the bookmark interval allows.
    Silent,
    /// It ended with OK, which the contract never promises.
    Well,
    /// With a status from the server.
    Status {
        code: Code,
        reason: String,
        retry: bool,
        metadata: BTreeMap<String, String>,
        /// Whether the trailers contained the last cursor.
        cursor: bool,
    },
}

impl Ending {
    /// Classifies a status. Without `ErrorInfo` it does not come from the server.
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

    /// Whether the reader's position cannot be resumed.
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

/// One step of what a reader saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A delivered event.
    Event(Delivered),
    /// A bookmark: everything at or below this sequence number was sent.
    Bookmark(u64),
    /// The stream ended. The steps that follow were read by resuming after the last cursor.
    Ended(Ending),
    /// An ephemeral event of this conversation.
    Ephemeral(i64),
}

/// What one reader saw from one starting point on, across all streams that it needed.
#[derive(Clone, Debug)]
pub struct Section {
    /// The name of the reader.
    pub reader: String,
    pub account: i64,
    pub api: ReaderApi,
    /// The filter of the subscription.
    pub filter: EventFilter,
    /// Where it started.
    pub begin: Begin,
    /// A lower bound on the sequence numbers that it must not skip: the oldest kept event, or the first after the head, determined after
    /// its first stream had responded. 0 if unknown.
    pub floor: u64,
    /// Whether it started after all writers had stopped.
    pub late: bool,
    /// What it saw, in order.
    pub steps: Vec<Step>,
    /// The snapshot that it received first: type, id and version of each resource.
    pub upserts: Vec<(&'static str, i64, u64)>,
    /// The cursor of the snapshot, once the snapshot was complete.
    pub complete: Option<Bytes>,
    /// Whether it failed to reach the end of the log although it had to.
    pub stuck: bool,
}

impl Section {
    /// An empty section.
    pub fn new(reader: &str, account: i64, api: ReaderApi, filter: EventFilter, begin: Begin) -> Self {
        Self {
            reader: reader.to_owned(),
            account,
            api,
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

    /// The delivered events, in order.
    pub fn events(&self) -> impl Iterator<Item = &Delivered> {
        self.steps.iter().filter_map(|step| match step {
            Step::Event(delivered) => Some(delivered),
            _ => None,
        })
    }

    /// The sequence number that events and bookmarks have reached.
    pub fn position(&self) -> u64 {
        let places = self.steps.iter().rev().filter_map(|step| match step {
            Step::Event(delivered) => Some(delivered.seq),
            Step::Bookmark(seq) => Some(*seq),
            _ => None,
        });
        places.max().unwrap_or_default()
    }

    /// The cursor after the last event.
    pub fn cursor(&self) -> Option<&Bytes> {
        self.events().last().map(|delivered| &delivered.cursor)
    }

    /// Whether the subscription had no filter.
    pub fn is_whole(&self) -> bool {
        self.filter == EventFilter::default()
    }
}

/// What a front end at `/cable` received over all its connections. This protocol has no cursors.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub account: i64,
    /// The number of connections.
    pub connections: usize,
    /// The ids of created messages, in the order of arrival.
    pub messages: Vec<i64>,
    /// The names of all events that arrived.
    pub said: BTreeSet<String>,
}

/// A session of a durable consumer of account 1.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The name of the consumer.
    pub consumer: &'static str,
    pub shard: u32,
    /// The fencing number.
    pub fence: u64,
    /// Granted credit, deliveries and commits, in order.
    pub steps: Vec<Work>,
}

/// A step of a session.
#[derive(Clone, Debug)]
pub enum Work {
    /// The client granted credit for this many more events.
    Granted(u64),
    /// An event was delivered: seq, id and hash.
    Given(u64, String, u64),
    /// A commit was acknowledged with this cursor. Commits are recorded in the order of their requests.
    Committed(Bytes),
}

/// A violated promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The number of the contract's statement; 0 for a promise outside the contract of the stream.
    pub statement: u8,
    pub text: String,
}

/// Everything that was recorded in one run.
#[derive(Debug, Default)]
pub struct History {
    /// The log of each account, copied from the database.
    pub archives: BTreeMap<i64, Archive>,
    /// The acknowledged messages of each writer, in order.
    pub writers: Vec<Vec<Acknowledged>>,
    /// How many writers received no acknowledgement at all.
    pub idle: usize,
    /// Other acknowledged changes.
    pub done: Vec<Done>,
    /// Valid requests that were refused.
    pub refused: Vec<String>,
    /// Reads of what was just written.
    pub read_backs: Vec<ReadBack>,
    /// What readers saw.
    pub sections: Vec<Section>,
    /// What front ends received.
    pub heard: Vec<Heard>,
    /// What durable consumers did.
    pub sessions: Vec<Session>,
    /// Problems found while recording: the sessions of worker processes check their own order.
    pub found: Vec<Problem>,
    /// The epochs of each account that were observed.
    pub epochs: BTreeMap<i64, BTreeSet<String>>,
    /// Conversations in which a user typed: account and conversation.
    pub typed: BTreeSet<(i64, i64)>,
    /// Erased contacts: account, id and a name that no other contact has.
    pub erased: Vec<(i64, i64, String)>,
    /// How cursors that must be refused were refused: a description, the code and the reason.
    pub refusals: Vec<(&'static str, Code, String)>,
    /// Credentials, which no event may contain.
    pub secrets: Vec<String>,
    /// Whether durable consumers had to receive every event of account 1.
    pub worked: bool,
    /// The sequence number of each cursor, set by [`Self::place_cursors`].
    pub places: HashMap<(i64, Vec<u8>), u64>,
}

impl History {
    /// Records the sequence number of each cursor that a reader received.
    pub fn place_cursors(&mut self) {
        for section in &self.sections {
            for delivered in section.events() {
                self.places.insert((section.account, delivered.cursor.to_vec()), delivered.seq);
            }
        }
    }

    /// Records the cursor of every event, whether or not a reader received it. A cursor is encoded from the account, the epoch and the
    /// sequence number.
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

    /// All violated promises.
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
