//! The log as the database holds it, copied out of it while it grows, so that what is trimmed later is known too.

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

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long what was erased may take to be rewritten.
const REWRITING: Duration = Duration::from_secs(90);
/// Rows that are read at once.
const ROWS: usize = 5000;

/// An event as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its place.
    pub seq: u64,
    /// The place of the first event of its write.
    pub transaction_id: u64,
    /// It is the last event of its write.
    pub transaction_end: bool,
    /// Identifies it for good.
    pub event_id: String,
    /// Its kind.
    pub kind: i32,
    /// The kind's name.
    pub kind_name: String,
    /// When it happened, in microseconds.
    pub occurred_at: i64,
    /// What filters look at.
    pub inbox: Option<i64>,
    /// The conversation it is about.
    pub conversation: Option<i64>,
    /// The contact it is about.
    pub contact: Option<i64>,
    /// The type of the message it is about, as the contract counts them.
    pub message_type: Option<i32>,
    /// Whether that message is private.
    pub private: Option<bool>,
    /// What it holds: the resource's type and id.
    pub resource: Option<(&'static str, i64)>,
    /// Number and text of a message.
    pub message: Option<(u64, String)>,
    /// A hash of the whole event.
    pub fingerprint: u64,
    /// Its personal data was erased.
    pub tombstone: bool,
    /// Everything that the envelope promises is there.
    pub whole: bool,
    /// The encoded event.
    pub payload: Vec<u8>,
}

/// A hash of an event, which two have in common only if they are the same.
pub fn fingerprint(event: &Event) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(&event.encode_to_vec());
    hasher.finish()
}

/// Type and id of what an event holds.
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

    /// Whether a filter lets it through: AND between the fields, OR inside one.
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

/// What one look at the log saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The last event that was known before.
    pub after: u64,
    /// The first that was new.
    pub first: u64,
    /// The last that was new.
    pub last: u64,
    /// The last one ends its write, or more are there than one look takes.
    pub ended: bool,
}

/// The log of one account.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// Every event there ever was, by its place.
    pub events: BTreeMap<u64, Logged>,
    /// Looks that saw something.
    pub looks: Vec<Look>,
    /// The oldest event that is kept in the end.
    pub earliest: u64,
    /// The newest one.
    pub head: u64,
    /// The rows as they are in the end.
    pub rows: BTreeMap<u64, Logged>,
    /// By conversation: number and id of each message's row.
    pub messages: BTreeMap<i64, Vec<(u64, i64)>>,
    /// Contacts' rows.
    pub contacts: BTreeSet<i64>,
    /// Conversations' rows.
    pub conversations: BTreeSet<i64>,
}

/// A connection to either database, again and again.
enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Runs a query with these numbers on either database.
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

/// Copies the logs of all accounts until it is told to end.
#[derive(Debug)]
pub struct Archivist {
    url: String,
    end: watch::Sender<bool>,
    /// By account, how far it has come: what is older may be trimmed.
    pub reached: watch::Receiver<BTreeMap<i64, u64>>,
    task: JoinHandle<BTreeMap<i64, Archive>>,
}

impl Archivist {
    /// Begins, at a database's own address.
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
                    // The database is down, by intent.
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

    /// The logs and the rows as they are in the end, once everybody else is done.
    ///
    /// What was erased is rewritten at leisure: rows that still name somebody are waited for, for a while.
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

/// Credentials that the database holds.
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

/// Whether an encoded event has this text in it.
pub fn names(payload: &[u8], name: &str) -> bool {
    payload.windows(name.len()).any(|window| window == name.as_bytes())
}
