//! A session of a durable consumer: opens, receives events, commits, grants credit.

use std::collections::VecDeque;

use bytes::Bytes;
use parley_proto::{
    Bookmark, ConsumeCommit, ConsumeCredit, ConsumeOpen, ConsumeOpened, ConsumeRequest, ConsumeResponse, EventDelivery,
    consume_open::Start, consume_request, consume_response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{clients::Clients, in_time};

/// An open session.
#[derive(Debug)]
pub struct Session {
    said: mpsc::Sender<ConsumeRequest>,
    stream: Streaming<ConsumeResponse>,
    ready: VecDeque<Told>,
    /// The first response: the starting position and the fencing number.
    pub opened: ConsumeOpened,
}

/// An item that a session receives.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Event(Box<EventDelivery>),
    /// A bookmark, which covers everything before it.
    Bookmark(Bookmark),
    /// The stored position.
    Committed(Bytes),
}

/// A request that opens a consumer at the beginning of an account's log, with plenty of credit.
pub fn plenty(account: i64, consumer: &str) -> ConsumeOpen {
    ConsumeOpen {
        account_id: account,
        consumer: consumer.to_owned(),
        start: Some(Start::Earliest(())),
        credit: Some(credit(1_000_000)),
        ..ConsumeOpen::default()
    }
}

/// Credit for this many events of any size.
pub fn credit(events: u32) -> ConsumeCredit {
    ConsumeCredit { events, bytes: 0 }
}

fn say(request: consume_request::Request) -> ConsumeRequest {
    ConsumeRequest { request: Some(request) }
}

impl Session {
    /// Opens a session, which must succeed.
    pub async fn open(clients: &Clients, open: ConsumeOpen) -> Self {
        Self::try_open(clients, open).await.expect("the session opens")
    }

    /// Opens a session. Returns its status if it is refused.
    pub async fn try_open(clients: &Clients, open: ConsumeOpen) -> Result<Self, Status> {
        let (said, saying) = mpsc::channel(64);
        said.send(say(consume_request::Request::Open(open))).await.expect("there is room");
        let call = clients.events.clone();
        let mut stream = in_time("Consume", async move { call.clone().consume(ReceiverStream::new(saying)).await })
            .await?
            .into_inner();
        let first = in_time("the opened session", stream.message())
            .await?
            .and_then(|first| first.response);
        let Some(consume_response::Response::Opened(opened)) = first else {
            panic!("a session begins with opened, not with {first:?}");
        };
        Ok(Self {
            said,
            stream,
            ready: VecDeque::new(),
            opened,
        })
    }

    /// The next item, or the status that ends the session.
    pub async fn take_any(&mut self) -> Result<Told, Status> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Ok(told);
            }
            let message = in_time("the session", self.stream.message()).await?;
            match message.and_then(|message| message.response) {
                Some(consume_response::Response::Delivery(delivery)) => {
                    let events = delivery.events.into_iter().map(|event| Told::Event(Box::new(event)));
                    self.ready.extend(events);
                    self.ready.extend(delivery.bookmark.map(Told::Bookmark));
                }
                Some(consume_response::Response::Committed(committed)) => self.ready.push_back(Told::Committed(committed.cursor)),
                other => panic!("not something that a session is told: {other:?}"),
            }
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> EventDelivery {
        loop {
            match self.take_any().await {
                Ok(Told::Event(event)) => return *event,
                Ok(_) => {}
                Err(status) => panic!("the session ended while events were due: {status:?}"),
            }
        }
    }

    /// All events up to the bookmark that covers `seq`.
    pub async fn until(&mut self, seq: u64) -> Vec<EventDelivery> {
        let mut events = Vec::new();
        loop {
            match self.take_any().await {
                Ok(Told::Event(event)) => events.push(*event),
                Ok(Told::Bookmark(bookmark)) if bookmark.seq >= seq => return events,
                Ok(_) => {}
                Err(status) => panic!("the session ended before {seq}: {status:?}"),
            }
        }
    }

    /// The next bookmark. Panics if an event arrives before it.
    pub async fn bookmark(&mut self) -> Bookmark {
        match self.take_any().await {
            Ok(Told::Bookmark(bookmark)) => bookmark,
            other => panic!("a bookmark was due, not {other:?}"),
        }
    }

    /// Commits a cursor. Returns the stored position.
    pub async fn commit(&mut self, cursor: &Bytes) -> Result<Bytes, Status> {
        self.say_commit(cursor).await;
        let mut passed = Vec::new();
        let stored = loop {
            match self.take_any().await? {
                Told::Committed(stored) => break stored,
                other => passed.push(other),
            }
        };
        self.ready.extend(passed);
        Ok(stored)
    }

    /// Commits a cursor without waiting for the reply.
    pub async fn say_commit(&self, cursor: &Bytes) {
        let commit = ConsumeCommit { cursor: cursor.clone() };
        self.tell(consume_request::Request::Commit(commit)).await;
    }

    /// Grants more credit.
    pub async fn grant(&self, events: u32, bytes: u64) {
        self.tell(consume_request::Request::Credit(ConsumeCredit { events, bytes })).await;
    }

    async fn tell(&self, request: consume_request::Request) {
        // The session may have ended already; its status says why.
        let _ = self.said.send(say(request)).await;
    }

    /// The status that ends the session, skipping everything before it.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.take_any().await {
                return status;
            }
        }
    }
}
