//! What must hold after it all: every promise is counted over what writers were told, subscribers saw and rows say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
};

use parley::pb::{Event, EventKind, ListMessagesRequest};

use crate::support::{clients::Clients, told::Told as _};

/// A message that the server said it had stored.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its text, unlike all others.
    pub text: String,
    /// The conversation's number.
    pub conversation: i64,
    /// Its id.
    pub message: i64,
    /// Its place in the conversation.
    pub number: u64,
    /// It stands after what its writer was told before. A message that was repeated on a stream may stand after later ones.
    pub in_order: bool,
}

/// An event that a subscriber saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its place in the log.
    pub seq: u64,
    /// What the delivery called the event before.
    pub prev_seq: u64,
    /// Identifies it for good.
    pub event_id: String,
    /// Conversation, id, number and text of the message, if one was created.
    pub message: Option<(i64, i64, u64, String)>,
}

impl Seen {
    /// What is kept of an event.
    pub fn of(prev_seq: u64, event: &Event) -> Self {
        let message = event.message().and_then(|told| told.message.as_ref());
        Self {
            seq: event.seq,
            prev_seq,
            event_id: event.event_id.clone(),
            message: message.filter(|_| event.kind() == EventKind::MessageCreated).map(|message| {
                (
                    message.conversation_id,
                    message.id,
                    message.number,
                    message.content.clone().unwrap_or_default(),
                )
            }),
        }
    }
}

/// What one subscriber saw, over all its streams.
#[derive(Debug, Default)]
pub struct Reading {
    /// Only `message.created` was asked for.
    pub filtered: bool,
    /// The events in the order they came.
    pub seen: Vec<Seen>,
    /// How far events and bookmarks reach.
    pub position: u64,
    /// How many streams it took.
    pub streams: usize,
    /// It did not reach the end.
    pub stuck: bool,
}

impl Reading {
    /// Notes an event.
    pub fn take(&mut self, seen: Seen) {
        self.position = self.position.max(seen.seq);
        self.seen.push(seen);
    }
}

/// Something that was promised and does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The log's numbers have a hole or a turn.
    Hole(String),
    /// A subscriber did not see what is in the log.
    Missed(String),
    /// Something acknowledged is not there, or not as it was told.
    Lost(String),
    /// Something is there twice.
    Twice(String),
    /// Something is there that nobody was told of.
    Unasked(String),
    /// Things stand in another order than they were answered in.
    Order(String),
    /// A good request was refused.
    Refused(String),
}

impl Problem {
    fn name(&self) -> &'static str {
        match self {
            Self::Hole(_) => "hole",
            Self::Missed(_) => "missed",
            Self::Lost(_) => "lost",
            Self::Twice(_) => "twice",
            Self::Unasked(_) => "unasked",
            Self::Order(_) => "order",
            Self::Refused(_) => "refused",
        }
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What each writer was told, in its order.
    pub writers: Vec<Vec<Acknowledged>>,
    /// What was refused.
    pub refused: Vec<Problem>,
    /// What subscribers saw while it happened.
    pub readers: Vec<Reading>,
    /// The log as it reads afterwards.
    pub log: Reading,
    /// Where it ends.
    pub head: u64,
    /// The rows: by conversation, number and id of each message.
    pub rows: BTreeMap<i64, Vec<(u64, i64)>>,
}

impl Evidence {
    /// Reads the messages of all conversations that were spoken in.
    pub async fn read_rows(&mut self, clients: &Clients) {
        let conversations: BTreeSet<i64> = self.writers.iter().flatten().map(|told| told.conversation).collect();
        for conversation_id in conversations {
            let rows = self.rows.entry(conversation_id).or_default();
            let mut page_token = String::new();
            loop {
                let request = ListMessagesRequest {
                    account_id: 1,
                    conversation_id,
                    page_size: 1_000,
                    page_token,
                    after: Some(0),
                    ..ListMessagesRequest::default()
                };
                let answer = clients
                    .messages
                    .clone()
                    .list_messages(request)
                    .await
                    .expect("messages are listed")
                    .into_inner();
                rows.extend(answer.messages.iter().map(|message| (message.number, message.id)));
                page_token = answer.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
        }
    }

    /// Prints a line of counts, also when the test holds, and what kinds of problems there are.
    pub fn report(&self, name: &str, seed: u64) {
        let acknowledged: usize = self.writers.iter().map(Vec::len).sum();
        let streams: usize = self.readers.iter().map(|reader| reader.streams).sum();
        let problems = self.problems();
        let mut text = format!(
            "durability: {name}, seed {seed}: {acknowledged} messages acknowledged, {} events, {} subscribers over {streams} streams, {} problems\n",
            self.head,
            self.readers.len(),
            problems.len()
        );
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for problem in &problems {
            *kinds.entry(problem.name()).or_default() += 1;
        }
        for problem in problems.iter().take(5) {
            let _ = writeln!(text, "durability:   {problem:?}");
        }
        if !kinds.is_empty() {
            let _ = writeln!(text, "durability:   {kinds:?}");
        }
        // Not by `println!`, which the test program keeps to itself while tests hold.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Every promise that does not hold.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.refused.clone();
        self.density(&mut problems);
        self.acknowledgements(&mut problems);
        self.conversations(&mut problems);
        for (index, reader) in self.readers.iter().enumerate() {
            self.subscriber(index, reader, &mut problems);
        }
        if self.writers.iter().any(Vec::is_empty) {
            problems.push(Problem::Lost("a writer wrote nothing: the run proves little".to_owned()));
        }
        problems
    }

    /// seq is 1, 2, 3 … up to the head, and no event stands there twice.
    fn density(&self, problems: &mut Vec<Problem>) {
        let mut ids = BTreeSet::new();
        let mut before = 0;
        for seen in &self.log.seen {
            if seen.seq != before + 1 {
                problems.push(Problem::Hole(format!("{} follows {before} in the log", seen.seq)));
            }
            before = seen.seq;
            if !ids.insert(&seen.event_id) {
                problems.push(Problem::Twice(format!("event {}", seen.event_id)));
            }
        }
        if before != self.head || self.log.stuck {
            problems.push(Problem::Hole(format!("the log reads to {before}, its head is {}", self.head)));
        }
    }

    /// Each acknowledged message is in the log once, as it was told, in its writer's order, and nothing else is.
    fn acknowledgements(&self, problems: &mut Vec<Problem>) {
        let mut places: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
        for seen in &self.log.seen {
            if let Some((.., text)) = &seen.message {
                places.entry(text).or_default().push(seen);
            }
        }
        let mut asked = BTreeSet::new();
        for told in &self.writers {
            let mut before = 0;
            for told in told {
                asked.insert(told.text.as_str());
                let Some(&[seen, ref again @ ..]) = places.get(told.text.as_str()).map(Vec::as_slice) else {
                    problems.push(Problem::Lost(told.text.clone()));
                    continue;
                };
                if !again.is_empty() {
                    problems.push(Problem::Twice(told.text.clone()));
                }
                let as_told = (told.conversation, told.message, told.number, told.text.clone());
                if seen.message.as_ref() != Some(&as_told) {
                    problems.push(Problem::Lost(format!("{as_told:?} is {:?} in the log", seen.message)));
                }
                if told.in_order {
                    if seen.seq <= before {
                        problems.push(Problem::Order(told.text.clone()));
                    }
                    before = seen.seq;
                }
            }
        }
        let unasked = places.keys().filter(|text| !asked.contains(*text));
        problems.extend(unasked.map(|text| Problem::Unasked((*text).to_owned())));
    }

    /// Messages of a conversation are numbered 1, 2, 3 … in the log and in the rows alike.
    fn conversations(&self, problems: &mut Vec<Problem>) {
        let mut logged: BTreeMap<i64, Vec<(u64, i64)>> = BTreeMap::new();
        for (conversation, message, number, _) in self.log.seen.iter().filter_map(|seen| seen.message.as_ref()) {
            logged.entry(*conversation).or_default().push((*number, *message));
        }
        for (conversation, messages) in &logged {
            if !messages.iter().zip(1..).all(|((number, _), expected)| *number == expected) {
                problems.push(Problem::Hole(format!("the numbers of conversation {conversation}")));
            }
        }
        for (conversation, rows) in &self.rows {
            let empty = Vec::new();
            let logged = logged.get(conversation).unwrap_or(&empty);
            if rows != logged {
                let (rows, logged) = (rows.len(), logged.len());
                problems.push(Problem::Lost(format!(
                    "conversation {conversation}: {rows} rows, {logged} events, not the same"
                )));
            }
        }
    }

    /// The subscriber saw the log as it is: nothing missed, nothing twice, and its chain tells so.
    fn subscriber(&self, index: usize, reader: &Reading, problems: &mut Vec<Problem>) {
        if reader.stuck {
            problems.push(Problem::Missed(format!("subscriber {index} never reached the end")));
        }
        let mut effects = BTreeSet::new();
        let mut before = 0;
        for seen in &reader.seen {
            if seen.prev_seq != before {
                let (at, told) = (seen.seq, seen.prev_seq);
                problems.push(Problem::Hole(format!(
                    "subscriber {index} at {at}: after {before} it was told {told}"
                )));
            }
            before = seen.seq;
            if !effects.insert(&seen.event_id) {
                problems.push(Problem::Twice(format!("subscriber {index} at {}", seen.seq)));
            }
        }
        let due = self.log.seen.iter().filter(|seen| !reader.filtered || seen.message.is_some());
        let missed = due.filter(|seen| !effects.contains(&seen.event_id)).count();
        if missed > 0 {
            problems.push(Problem::Missed(format!("subscriber {index} missed {missed} events")));
        }
        let logged: BTreeSet<&String> = self.log.seen.iter().map(|seen| &seen.event_id).collect();
        let phantoms = effects.iter().filter(|id| !logged.contains(**id)).count();
        if phantoms > 0 {
            problems.push(Problem::Unasked(format!(
                "subscriber {index} saw {phantoms} events that are not in the log"
            )));
        }
    }
}
