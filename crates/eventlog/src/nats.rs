//! Relays commits through NATS JetStream, for more replicas and subscribers than the database's notifications can serve.
//!
//! The log remains the source of truth. Events are published after their commit, one message per event, with a message id that identifies
//! the event, and every replica subscribes to the subjects of the accounts that are followed on it. Events that do not continue the tail
//! cache, were lost, or were committed while NATS was down are read from the log, as they would be without NATS. Publishing is therefore
//! never retried, and no write waits for NATS.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self, ErrorCode,
        context::{GetStreamErrorKind, PublishAckFuture},
        message::PublishMessage,
        stream,
    },
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use parley_storage::entity::kind::MessageType;
use parley_types::{
    id::{AccountId, ContactId, ConversationId, Epoch, InboxId, Seq},
    time::Micros,
};
use prost::Message as _;
use sea_orm::ActiveEnum as _;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

mod addresses;
mod follow;

use crate::{event_record::EventRecord, mark::Mark};

pub use follow::run;

/// The name of the JetStream stream.
pub const STREAM: &str = "PARLEY_EVENTS";

/// The prefix of all NATS subjects; the account's id follows, as in `parley.events.42`.
const SUBJECT: &str = "parley.events";

/// How long JetStream keeps an event: long enough for a replica that was briefly disconnected to catch up, but too short for the stream to
/// become another store of personal data.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The period in which JetStream detects and discards an event that is published again.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// Maximum number of writes queued for publishing. If the queue is full, other replicas read further writes from the log.
const QUEUE_CAPACITY: usize = 1024;

/// Maximum number of publications that JetStream has not acknowledged yet.
const UNACKNOWLEDGED: usize = 1024;

/// How long to wait for a response from NATS.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// An event that is relayed to other replicas, with the columns that subscribers' filters need.
#[derive(Clone, PartialEq, prost::Message)]
struct RelayedEvent {
    #[prost(int64, tag = "1")]
    account: i64,
    #[prost(int64, tag = "2")]
    epoch: i64,
    #[prost(int64, tag = "3")]
    seq: i64,
    #[prost(int64, tag = "4")]
    transaction: i64,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(int64, optional, tag = "6")]
    inbox: Option<i64>,
    #[prost(int64, optional, tag = "7")]
    conversation: Option<i64>,
    #[prost(int64, optional, tag = "8")]
    contact: Option<i64>,
    #[prost(int32, optional, tag = "9")]
    message_type: Option<i32>,
    #[prost(bool, optional, tag = "10")]
    private: Option<bool>,
    #[prost(int64, tag = "11")]
    occurred_at: i64,
    #[prost(bytes = "bytes", tag = "12")]
    payload: Bytes,
}

impl RelayedEvent {
    fn of(epoch: Epoch, entry: &EventRecord) -> Self {
        Self {
            account: entry.account.0,
            epoch: epoch.0,
            seq: entry.seq.0,
            transaction: entry.transaction_id.0,
            kind: entry.kind.into(),
            inbox: entry.inbox.map(i64::from),
            conversation: entry.conversation.map(i64::from),
            contact: entry.contact.map(i64::from),
            message_type: entry.message_type.map(|kind| i32::from(kind as i16)),
            private: entry.private,
            occurred_at: entry.occurred_at.0,
            payload: entry.payload.clone(),
        }
    }

    /// Returns the event record. Returns `None` if this version cannot read the message, in which case the event is read from the log.
    fn entry(self) -> Option<(Epoch, EventRecord)> {
        let message_type = match self.message_type {
            None => None,
            Some(number) => Some(MessageType::try_from_value(&i16::try_from(number).ok()?).ok()?),
        };
        let entry = EventRecord {
            account: AccountId(self.account),
            seq: Seq(self.seq),
            transaction_id: Seq(self.transaction),
            kind: i16::try_from(self.kind).ok()?,
            inbox: self.inbox.map(InboxId),
            conversation: self.conversation.map(ConversationId),
            contact: self.contact.map(ContactId),
            message_type,
            private: self.private,
            occurred_at: Micros(self.occurred_at),
            payload: self.payload,
        };
        Some((Epoch(self.epoch), entry))
    }

    /// Returns the message id, by which JetStream detects duplicates. Every replica computes the same id for the same event, but a
    /// different one for an event that replaced it in a restored log.
    fn id(&self) -> String {
        let mark = Mark::of_payload(&self.payload).map_or_else(|| format!("{:x}", Epoch(self.epoch)), |mark| mark.to_string());
        format!("{mark}-{}-{}", self.account, self.seq)
    }
}

/// The events of one write, with the epoch of the log that they belong to.
type Committed = (Epoch, Vec<EventRecord>);

/// The sending end of the relay, through which the broadcaster publishes committed events.
#[derive(Clone, Debug)]
pub struct Relay {
    client: Client,
    waiting: mpsc::Sender<Committed>,
    /// Notified when an account without subscribers gains its first subscriber.
    pub(super) followed: Arc<Notify>,
}

/// The receiving end of the relay's queue, from which [`run`] takes committed events and publishes them to NATS.
#[derive(Debug)]
pub struct RelayReceiver {
    client: Client,
    committed: mpsc::Receiver<Committed>,
    followed: Arc<Notify>,
}

impl Relay {
    /// Creates a relay through the server at `url`. The server may be down: the client connects as soon as the server is up.
    ///
    /// # Errors
    /// Returns an error if the address is malformed.
    pub async fn connect(url: &str) -> anyhow::Result<(Self, RelayReceiver)> {
        let options = async_nats::ConnectOptions::new().name("parley").retry_on_initial_connect();
        let (options, servers) = addresses::read(url, options)?;
        let client = options.connect(servers).await?;
        let (waiting, committed) = mpsc::channel(QUEUE_CAPACITY);
        let followed = Arc::new(Notify::new());
        let relay = Self {
            client: client.clone(),
            waiting,
            followed: Arc::clone(&followed),
        };
        let relaying = RelayReceiver {
            client,
            committed,
            followed,
        };
        Ok((relay, relaying))
    }

    /// Connects to NATS and checks that JetStream responds.
    ///
    /// # Errors
    /// Returns an error if NATS cannot be reached, or has no JetStream.
    pub async fn reaches(url: &str) -> anyhow::Result<()> {
        let (options, servers) = addresses::read(url, async_nats::ConnectOptions::new().name("parley doctor"))?;
        let client = options.connect(servers).await?;
        // Query the stream, not the JetStream account, which the client cannot read from servers before 2.10. If the stream does not exist
        // yet, the first start creates it.
        match jetstream::new(client).get_stream(STREAM).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(()),
                _ => Err(error).context("JetStream is not available"),
            },
        }
    }

    /// Whether the relay is connected, so that other replicas receive commits through it.
    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Queues the events of one write for publishing. If the queue is full, other replicas read the events from the log.
    pub(super) fn committed(&self, epoch: Epoch, entries: Vec<EventRecord>) {
        if self.is_up() {
            let _ = self.waiting.try_send((epoch, entries));
        }
    }
}

/// Publishes queued writes. The events of each account are published in order.
async fn publish(client: &Client, mut committed: mpsc::Receiver<Committed>) {
    let jetstream = jetstream::new(client.clone());
    let mut unacknowledged = FuturesUnordered::new();
    let mut made = false;
    while let Some((epoch, entries)) = committed.recv().await {
        if !made {
            made = ensure_stream(&jetstream).await;
        }
        for entry in &entries {
            let relayed = RelayedEvent::of(epoch, entry);
            let message = PublishMessage::build()
                .payload(relayed.encode_to_vec().into())
                .message_id(relayed.id());
            let subject = format!("{SUBJECT}.{}", relayed.account);
            match timeout(RESPONSE_TIMEOUT, jetstream.send_publish(subject, message)).await {
                Ok(Ok(ack)) => unacknowledged.push(acknowledged(ack)),
                Ok(Err(error)) => tracing::debug!(%error, "failed to publish an event to NATS; other replicas will read it from the log"),
                Err(_) => tracing::debug!("timed out publishing an event to NATS; other replicas will read it from the log"),
            }
            while unacknowledged.len() >= UNACKNOWLEDGED {
                made &= unacknowledged.next().await.unwrap_or(true);
            }
        }
        while let Some(Some(stored)) = unacknowledged.next().now_or_never() {
            made &= stored;
        }
    }
}

/// Whether JetStream has acknowledged that it stored the event. If not, the stream may have been deleted.
async fn acknowledged(ack: PublishAckFuture) -> bool {
    matches!(timeout(RESPONSE_TIMEOUT, ack.into_future()).await, Ok(Ok(_)))
}

async fn ensure_stream(jetstream: &jetstream::Context) -> bool {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![format!("{SUBJECT}.*")],
        max_age: MAX_AGE,
        duplicate_window: DUPLICATE_WINDOW,
        discard: stream::DiscardPolicy::Old,
        ..stream::Config::default()
    };
    match timeout(RESPONSE_TIMEOUT, jetstream.get_or_create_stream(config)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "failed to get or create the JetStream stream; relaying events without persistence");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn entry(seq: i64) -> EventRecord {
        EventRecord {
            account: AccountId(7),
            seq: Seq(seq),
            transaction_id: Seq(41),
            kind: 1,
            inbox: Some(InboxId(3)),
            conversation: Some(ConversationId(4)),
            contact: None,
            message_type: Some(MessageType::Outgoing),
            private: Some(false),
            occurred_at: Micros(5),
            payload: Bytes::from_static(b"event"),
        }
    }

    #[test]
    fn relayed_event_round_trips() {
        let entry = entry(42);
        let relayed = RelayedEvent::of(Epoch(0xbad), &entry);
        assert_eq!(relayed.id(), "00000bad-7-42");
        let again = RelayedEvent::decode(relayed.encode_to_vec().as_slice()).unwrap();
        assert_eq!(again.entry(), Some((Epoch(0xbad), entry)));
    }
}
