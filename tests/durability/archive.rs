//! Copies the event log out of the database while it grows, so that the validators also know the events that are trimmed later.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parley_proto::{Event, EventFilter, event::Resource};
use prost::Message as _;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The polling interval of the log.
const LOOK: Duration = Duration::from_millis(50);
/// How long the rewrite of erased events may take.
const REWRITING: Duration = Duration::from_secs(90);
/// The page size of queries.
const ROWS: usize = 5000;

/// An event, decoded from its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The sequence number.
    pub seq: u64,
    /// The sequence number of the first event of its write.
    pub transaction_id: u64,
    /// Whether it is the last event of its write.
    pub transaction_end: bool,
    /// The permanent id of the event.
    pub event_id: String,
    pub kind: i32,
    pub kind_name: String,
    /// When the event occurred, in microseconds since 1970.
    pub occurred_at: i64,
    /// The inbox. The columns from here to `private` are those that filters compare.
    pub inbox: Option<i64>,
    /// The conversation that the event is about.
    pub conversation: Option<i64>,
    /// The contact that the event is about.
    pub contact: Option<i64>,
    /// The type of the message that the event is about, with the numbering of the contract.
    pub message_type: Option<i32>,
    /// Whether that message is private.
    pub private: Option<bool>,
    /// The type and id of the resource that the event holds.
    pub resource: Option<(&'static str, i64)>,
    /// The number and text, if the event holds a message.
    pub message: Option<(u64, String)>,
    /// A hash of the encoded event.
    pub fingerprint: u64,
    /// Whether erasure replaced the event by a tombstone.
    pub tombstone: bool,
    /// Whether every field that the envelope promises is set and agrees with the columns.
    pub whole: bool,
    pub payload: Vec<u8>,
}

/// A 64-bit hash of the encoded event, used to compare events for equality.
pub fn fingerprint(event: &Event) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(&event.encode_to_vec());
    hasher.finish()
}

/// The type and id of the resource that an event holds.
pub fn resource(event: &Event) -> Option<(&'static str, i64)> {
    Some(match event.resource.as_ref()? {
        Resource::Message(it) => ("message", it.message.as_ref()?.id),
        Resource::Conversation(it) => ("conversation", it.conversation.as_ref()?.id),
        Resource::Contact(it) => ("contact", it.contact.as_ref()?.id),
        Resource::Inbox(it) => ("inbox", it.inbox.as_ref()?.id),
        Resource::Account(it) => ("account", it.id),
        Resource::Agent(it) => ("agent", it.id),
        Resource::AgentBot(it) => ("agent_bot", it.id),
        Resource::Team(it) => ("team", it.id),
        Resource::Label(it) => ("label", it.id),
        Resource::CustomAttributeDefinition(it) => ("custom_attribute_definition", it.id),
        Resource::CannedResponse(it) => ("canned_response", it.id),
        Resource::ContactNote(it) => ("contact_note", it.id),
        Resource::Tombstone(_) => return None,
    })
}

type Row = (
    i64,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Vec<u8>,
);

impl Logged {
    fn of(account: i64, row: Row) -> Self {
        let (seq, transaction_id, kind, inbox, conversation, contact, message_type, private, payload) = row;
        let event = Event::decode(payload.as_slice()).expect("a row holds an event");
        let seq = u64::try_from(seq).expect("places count from 1");
        let place = |number: i64| u64::try_from(number).expect("places count from 1");
        let time = event.occurred_at.unwrap_or_default();
        let message = match &event.resource {
            Some(Resource::Message(it)) => it.message.as_ref(),
            _ => None,
        };
        let tombstone = matches!(event.resource, Some(Resource::Tombstone(_)));
        let whole = !event.event_id.is_empty()
            && event.account_id == account
            && event.seq == seq
            && event.transaction_id == place(transaction_id)
            && !event.kind_name.is_empty()
            && event.occurred_at.is_some()
            && i64::from(event.kind) == kind
            && event.resource.is_some();
        Self {
            seq,
            transaction_id: place(transaction_id),
            transaction_end: event.transaction_end,
            event_id: event.event_id.clone(),
            kind: event.kind,
            kind_name: event.kind_name.clone(),
            occurred_at: time.seconds * 1_000_000 + i64::from(time.nanos) / 1000,
            inbox,
            conversation,
            contact,
            // The column counts from 0, the contract from 1.
            message_type: message_type.and_then(|number| i32::try_from(number + 1).ok()),
            private: private.map(|private| private != 0),
            resource: resource(&event),
            message: message.map(|message| (message.number, message.content.clone().unwrap_or_default())),
            fingerprint: fingerprint(&event),
            tombstone,
            whole,
            payload,
        }
    }

    /// Whether the event matches a filter: AND between fields, OR within one field.
    pub fn passes(&self, filter: &EventFilter) -> bool {
        fn one_of<T: PartialEq>(wanted: &[T], value: Option<T>) -> bool {
            wanted.is_empty() || value.is_some_and(|value| wanted.contains(&value))
        }
        one_of(&filter.kinds, Some(self.kind))
            && one_of(&filter.inbox_ids, self.inbox)
            && one_of(&filter.conversation_ids, self.conversation)
            && one_of(&filter.contact_ids, self.contact)
            && one_of(&filter.message_types, self.message_type)
            && filter.private.is_none_or(|private| self.private == Some(private))
    }
}

/// One page of events that were new to the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The last sequence number that was known before.
    pub after: u64,
    /// The first new sequence number.
    pub first: u64,
    /// The last new sequence number.
    pub last: u64,
    /// Whether the last event ends its write. Also true for a full page, which may stop inside a write.
    pub ended: bool,
}

/// The log of one account.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// Every event that was ever in the log, by sequence number.
    pub events: BTreeMap<u64, Logged>,
    /// The non-empty pages, in the order in which they were read.
    pub looks: Vec<Look>,
    /// The sequence number of the oldest event that is kept at the end of the run.
    pub earliest: u64,
    /// The sequence number of the newest event at the end of the run.
    pub head: u64,
    /// The rows that are in the table at the end of the run, by sequence number.
    pub rows: BTreeMap<u64, Logged>,
    /// The number and id of each message row, by conversation.
    pub messages: BTreeMap<i64, Vec<(u64, i64)>>,
    /// The ids in the contacts table.
    pub contacts: BTreeSet<i64>,
    /// The ids in the conversations table.
    pub conversations: BTreeSet<i64>,
}

/// A connection to either database. The archivist reopens it after each failure.
enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Runs a query on either database with these numbers bound.
macro_rules! fetch {
    ($connection:expr, $query:expr $(, $value:expr)*) => {
        match $connection {
            Connection::Postgres(connection) => sqlx::query_as($query)$(.bind($value))*.fetch_all(connection).await,
            Connection::Sqlite(connection) => sqlx::query_as($query)$(.bind($value))*.fetch_all(connection).await,
        }
    };
}

const EVENTS: &str = "SELECT CAST(seq AS BIGINT), CAST(transaction_id AS BIGINT), CAST(kind AS BIGINT), inbox_id, conversation_id, contact_id, \
     CAST(message_type AS BIGINT), CAST(CAST(private AS INTEGER) AS BIGINT), payload \
     FROM events WHERE account_id = $1 AND seq > $2 ORDER BY seq LIMIT 5000";

impl Connection {
    async fn open(url: &str) -> Result<Self, sqlx::Error> {
        Ok(if url.starts_with("sqlite") {
            Self::Sqlite(SqliteConnection::connect(url).await?)
        } else {
            Self::Postgres(PgConnection::connect(url).await?)
        })
    }

    async fn accounts(&mut self) -> Result<Vec<(i64, i64, i64)>, sqlx::Error> {
        fetch!(
            self,
            "SELECT account_id, earliest_seq, head_seq FROM account_logs ORDER BY account_id"
        )
    }

    async fn events(&mut self, account: i64, after: u64) -> Result<Vec<Logged>, sqlx::Error> {
        let rows: Vec<Row> = fetch!(self, EVENTS, account, i64::try_from(after).expect("it is a place"))?;
        Ok(rows.into_iter().map(|row| Logged::of(account, row)).collect())
    }

    async fn look(&mut self, archives: &mut BTreeMap<i64, Archive>) -> Result<(), sqlx::Error> {
        for (account, ..) in self.accounts().await? {
            let archive = archives.entry(account).or_default();
            loop {
                let after = archive.events.keys().next_back().copied().unwrap_or_default();
                let page = self.events(account, after).await?;
                let (Some(first), Some(last)) = (page.first(), page.last()) else {
                    break;
                };
                let full = page.len() == ROWS;
                archive.looks.push(Look {
                    after,
                    first: first.seq,
                    last: last.seq,
                    ended: full || last.transaction_end,
                });
                archive.events.extend(page.into_iter().map(|event| (event.seq, event)));
                if !full {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn finish(&mut self, archives: &mut BTreeMap<i64, Archive>) -> Result<(), sqlx::Error> {
        self.look(archives).await?;
        for (account, earliest, head) in self.accounts().await? {
            let archive = archives.entry(account).or_default();
            archive.earliest = u64::try_from(earliest).expect("it is a place");
            archive.head = u64::try_from(head).expect("it is a place");
            let mut after = archive.earliest - 1;
            archive.rows.clear();
            archive.messages.clear();
            loop {
                let page = self.events(account, after).await?;
                let Some(last) = page.last() else { break };
                after = last.seq;
                archive.rows.extend(page.into_iter().map(|event| (event.seq, event)));
            }
            let messages: Vec<(i64, i64, i64)> = fetch!(
                self,
                "SELECT conversation_id, number, id FROM messages WHERE account_id = $1 ORDER BY conversation_id, number",
                account
            )?;
            for (conversation, number, id) in messages {
                let number = u64::try_from(number).expect("it counts from 1");
                archive.messages.entry(conversation).or_default().push((number, id));
            }
            let contacts: Vec<(i64,)> = fetch!(self, "SELECT id FROM contacts WHERE account_id = $1", account)?;
            archive.contacts = contacts.into_iter().map(|(id,)| id).collect();
            let conversations: Vec<(i64,)> = fetch!(self, "SELECT id FROM conversations WHERE account_id = $1", account)?;
            archive.conversations = conversations.into_iter().map(|(id,)| id).collect();
        }
        Ok(())
    }
}

/// Copies the logs of all accounts until the traffic ends.
#[derive(Debug)]
pub struct Archivist {
    url: String,
    end: watch::Sender<bool>,
    /// The last copied sequence number of each account. Events up to it may be trimmed without being lost to the validators.
    pub reached: watch::Receiver<BTreeMap<i64, u64>>,
    task: JoinHandle<BTreeMap<i64, Archive>>,
}

impl Archivist {
    /// Starts the copy. `url` is the address of the database itself, not of a proxy.
    pub fn start(url: String) -> Self {
        let (end, ended) = watch::channel(false);
        let (told, reached) = watch::channel(BTreeMap::new());
        let address = url.clone();
        let task = tokio::spawn(async move {
            let mut archives = BTreeMap::new();
            let mut connection: Option<Connection> = None;
            loop {
                let ending = *ended.borrow();
                let looked = match &mut connection {
                    Some(connection) if ending => connection.finish(&mut archives).await,
                    Some(connection) => connection.look(&mut archives).await,
                    None => Connection::open(&address).await.map(|opened| drop(connection.replace(opened))),
                };
                match looked {
                    Ok(()) if ending && archives.values().any(|archive: &Archive| archive.head > 0) => return archives,
                    Ok(()) => {}
                    // The test has taken the database down.
                    Err(_) => connection = None,
                }
                let place = |archive: &Archive| archive.events.keys().next_back().copied().unwrap_or_default();
                told.send_replace(archives.iter().map(|(account, archive)| (*account, place(archive))).collect());
                if !ending {
                    sleep(LOOK).await;
                }
            }
        });
        Self { url, end, reached, task }
    }

    /// Returns the logs and the rows as they are at the end. Call it once all writers have stopped.
    pub async fn finish(self, erased: &[(i64, i64, String)]) -> BTreeMap<i64, Archive> {
        let url = self.url.clone();
        self.end.send_replace(true);
        let mut archives = self.task.await.expect("no panic");
        let until = Instant::now() + REWRITING;
        while Instant::now() < until {
            let named = erased.iter().any(|(account, _, name)| {
                let archive = archives.get(account);
                archive.is_some_and(|archive| archive.rows.values().any(|row| names(&row.payload, name)))
            });
            if !named {
                break;
            }
            sleep(Duration::from_millis(500)).await;
            let mut connection = Connection::open(&url).await.expect("the database is there");
            connection.finish(&mut archives).await.expect("the database is there");
        }
        archives
    }
}

/// All credentials that the database stores.
pub async fn secrets(url: &str) -> Vec<String> {
    const SECRETS: &str =
        "SELECT pubsub_token FROM users UNION SELECT hmac_token FROM api_channels UNION SELECT pubsub_token FROM contact_inboxes";
    let mut connection = Connection::open(url).await.expect("the database is there");
    let secrets = async { fetch!(&mut connection, SECRETS) };
    let secrets: Vec<(String,)> = secrets.await.expect("they are there");
    secrets
        .into_iter()
        .map(|(secret,)| secret)
        .filter(|secret| !secret.is_empty())
        .collect()
}

/// Whether an encoded event contains this text.
pub fn names(payload: &[u8], name: &str) -> bool {
    payload.windows(name.len()).any(|window| window == name.as_bytes())
}
