//! Commits by way of NATS JetStream, for more replicas and readers than the database's own signals bear.
//!
//! The log stays the truth. What is committed is published after the fact, one message an event under its id, and every replica follows the
//! subjects of the accounts that somebody reads there. What does not join on, was lost, or came while NATS was away is read from the log, as
//! without NATS. So nothing here retries, and nothing waits.

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

use crate::{entry::Entry, mark::Mark};

pub use follow::run;

/// The stream that keeps what is published.
pub const STREAM: &str = "PARLEY_EVENTS";

/// The subjects: this, a dot, and the account.
const SUBJECT: &str = "parley.events";

/// How long JetStream keeps an event: long enough for whoever was away for a moment, and no second place for personal data.
const KEPT: Duration = Duration::from_mins(10);

/// How long JetStream recognises an event that is published again.
const DUPLICATES: Duration = Duration::from_mins(2);

/// Writes that wait to be published. More are left to the log.
const WAITING: usize = 1024;

/// Publications that are not acknowledged yet.
const UNACKNOWLEDGED: usize = 1024;

/// How long NATS may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An event on its way to other replicas, with what filters need.
#[derive(Clone, PartialEq, prost::Message)]
struct Relayed {
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

impl Relayed {
    fn of(epoch: Epoch, entry: &Entry) -> Self {
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

    /// None for what this version cannot read: the log has it.
    fn entry(self) -> Option<(Epoch, Entry)> {
        let message_type = match self.message_type {
            None => None,
            Some(number) => Some(MessageType::try_from_value(&i16::try_from(number).ok()?).ok()?),
        };
        let entry = Entry {
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

    /// The same for the same event on every publishing replica, and another for an event that took its place in a restored log.
    fn id(&self) -> String {
        let mark = Mark::of_payload(&self.payload).map_or_else(|| format!("{:x}", Epoch(self.epoch)), |mark| mark.to_string());
        format!("{mark}-{}-{}", self.account, self.seq)
    }
}

/// What one write left, with the epoch of its log.
type Committed = (Epoch, Vec<Entry>);

/// Where the hub puts what was committed.
#[derive(Clone, Debug)]
pub struct Relay {
    client: Client,
    waiting: mpsc::Sender<Committed>,
    /// Rung when somebody follows an account that nobody followed.
    pub(super) followed: Arc<Notify>,
}

/// The other end, to be run.
#[derive(Debug)]
pub struct Relaying {
    client: Client,
    committed: mpsc::Receiver<Committed>,
    followed: Arc<Notify>,
}

impl Relay {
    /// A relay by the server at `url`. It need not be there: it is connected to whenever it is.
    ///
    /// # Errors
    /// When the address has the wrong form.
    pub async fn connect(url: &str) -> anyhow::Result<(Self, Relaying)> {
        let options = async_nats::ConnectOptions::new().name("parley").retry_on_initial_connect();
        let (options, servers) = addresses::read(url, options)?;
        let client = options.connect(servers).await?;
        let (waiting, committed) = mpsc::channel(WAITING);
        let followed = Arc::new(Notify::new());
        let relay = Self {
            client: client.clone(),
            waiting,
            followed: Arc::clone(&followed),
        };
        let relaying = Relaying {
            client,
            committed,
            followed,
        };
        Ok((relay, relaying))
    }

    /// Connects and asks JetStream for its state.
    ///
    /// # Errors
    /// When NATS cannot be reached, or has no JetStream.
    pub async fn reaches(url: &str) -> anyhow::Result<()> {
        let (options, servers) = addresses::read(url, async_nats::ConnectOptions::new().name("parley doctor"))?;
        let client = options.connect(servers).await?;
        // Not its account, which the client cannot read from servers before 2.10. A stream that is not there yet is made by the first start.
        match jetstream::new(client).get_stream(STREAM).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(()),
                _ => Err(error).context("it has no JetStream"),
            },
        }
    }

    /// Whether other replicas hear of commits this way now.
    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Hands over what one write left. Where too much waits, others read it from the log.
    pub(super) fn committed(&self, epoch: Epoch, entries: Vec<Entry>) {
        if self.is_up() {
            let _ = self.waiting.try_send((epoch, entries));
        }
    }
}

/// Publishes what was committed, in the order of each account.
async fn publish(client: &Client, mut committed: mpsc::Receiver<Committed>) {
    let jetstream = jetstream::new(client.clone());
    let mut unacknowledged = FuturesUnordered::new();
    let mut made = false;
    while let Some((epoch, entries)) = committed.recv().await {
        if !made {
            made = make_stream(&jetstream).await;
        }
        for entry in &entries {
            let relayed = Relayed::of(epoch, entry);
            let message = PublishMessage::build()
                .payload(relayed.encode_to_vec().into())
                .message_id(relayed.id());
            let subject = format!("{SUBJECT}.{}", relayed.account);
            match timeout(PATIENCE, jetstream.send_publish(subject, message)).await {
                Ok(Ok(ack)) => unacknowledged.push(acknowledged(ack)),
                Ok(Err(error)) => tracing::debug!(%error, "an event was not published; others read it from the log"),
                Err(_) => tracing::debug!("NATS takes nothing; others read the log"),
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

/// Whether JetStream has stored it: if not, the stream may be gone.
async fn acknowledged(ack: PublishAckFuture) -> bool {
    matches!(timeout(PATIENCE, ack.into_future()).await, Ok(Ok(_)))
}

async fn make_stream(jetstream: &jetstream::Context) -> bool {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![format!("{SUBJECT}.*")],
        max_age: KEPT,
        duplicate_window: DUPLICATES,
        discard: stream::DiscardPolicy::Old,
        ..stream::Config::default()
    };
    match timeout(PATIENCE, jetstream.get_or_create_stream(config)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "JetStream gives no stream; events are relayed, and not kept there");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn entry(seq: i64) -> Entry {
        Entry {
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
    fn an_event_comes_out_as_it_went_in() {
        let entry = entry(42);
        let relayed = Relayed::of(Epoch(0xbad), &entry);
        assert_eq!(relayed.id(), "00000bad-7-42");
        let again = Relayed::decode(relayed.encode_to_vec().as_slice()).unwrap();
        assert_eq!(again.entry(), Some((Epoch(0xbad), entry)));
    }
}
