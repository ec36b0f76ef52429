//! A subscriber that reads a stream event by event.

use std::collections::VecDeque;

use bytes::Bytes;
use parley_proto::{
    Bookmark, Event, EventDelivery, EventFilter, GetLogInfoRequest, GetLogInfoResponse, SubscribeRequest, SubscribeResponse,
    subscribe_request::Start,
};
use tonic::{Code, Status, Streaming};

use super::{clients::Clients, in_time};

/// An open stream.
#[derive(Debug)]
pub struct Reader {
    stream: Streaming<SubscribeResponse>,
    ready: VecDeque<Taken>,
    /// The cursor of the last event or bookmark that was returned.
    pub cursor: Option<Bytes>,
}

/// An item of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    Event(Box<EventDelivery>),
    /// A bookmark, which covers everything before it.
    Bookmark(Bookmark),
}

/// A subscription to all events of an account.
pub fn everything(account: i64, start: Start) -> SubscribeRequest {
    SubscribeRequest {
        account_id: account,
        start: Some(start),
        ..SubscribeRequest::default()
    }
}

/// A subscription with a filter.
pub fn filtered(account: i64, start: Start, filter: EventFilter) -> SubscribeRequest {
    SubscribeRequest {
        filter: Some(filter),
        ..everything(account, start)
    }
}

/// The range of an account's log.
pub async fn log_info(clients: &Clients, account: i64) -> GetLogInfoResponse {
    let answer = in_time(
        "GetLogInfo",
        clients.events.clone().get_log_info(GetLogInfoRequest { account_id: account }),
    )
    .await;
    answer.expect("GetLogInfo is answered").into_inner()
}

/// The whole log of an account, up to its current head.
pub async fn whole_log(clients: &Clients, account: i64) -> Vec<EventDelivery> {
    let head = log_info(clients, account).await.head_seq;
    let mut reader = Reader::open(clients, everything(account, Start::Earliest(()))).await;
    reader.until(head).await
}

impl Reader {
    /// Opens a stream, which must succeed.
    pub async fn open(clients: &Clients, request: SubscribeRequest) -> Self {
        Self::try_open(clients, request).await.expect("the stream opens")
    }

    /// Opens a stream. Returns its status if it is refused at once; a refusal may also be the first item of the stream.
    pub async fn try_open(clients: &Clients, request: SubscribeRequest) -> Result<Self, Status> {
        let stream = in_time("Subscribe", clients.events.clone().subscribe(request)).await?.into_inner();
        Ok(Self {
            stream,
            ready: VecDeque::new(),
            cursor: None,
        })
    }

    /// The status with which a stream is refused. Panics if it opens.
    pub async fn refusal(clients: &Clients, request: SubscribeRequest) -> Status {
        match Self::try_open(clients, request).await {
            Err(status) => status,
            Ok(mut reader) => match reader.take_any().await {
                Err(status) => status,
                Ok(taken) => panic!("this stream must be refused, but sent {taken:?}"),
            },
        }
    }

    /// The next event or bookmark, or the status that ends the stream.
    pub async fn take_any(&mut self) -> Result<Taken, Status> {
        loop {
            if let Some(taken) = self.ready.pop_front() {
                self.cursor = Some(match &taken {
                    Taken::Event(delivery) => delivery.cursor.clone(),
                    Taken::Bookmark(bookmark) => bookmark.cursor.clone(),
                });
                return Ok(taken);
            }
            let Some(response) = in_time("the stream", self.stream.message()).await? else {
                return Err(Status::new(Code::Ok, "the stream ended without a status of its own"));
            };
            assert_ne!(response, SubscribeResponse::default(), "a response is never empty");
            let events = response.events.into_iter().map(|delivery| Taken::Event(Box::new(delivery)));
            self.ready.extend(events);
            self.ready.extend(response.bookmark.map(Taken::Bookmark));
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> EventDelivery {
        loop {
            match self.take_any().await {
                Ok(Taken::Event(delivery)) => return *delivery,
                Ok(Taken::Bookmark(_)) => {}
                Err(status) => panic!("the stream ended while events were due: {status:?}"),
            }
        }
    }

    /// The next `count` events.
    pub async fn take(&mut self, count: usize) -> Vec<EventDelivery> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next().await);
        }
        events
    }

    /// All events up to this sequence number, which the last event or a bookmark has reached.
    pub async fn until(&mut self, seq: u64) -> Vec<EventDelivery> {
        let mut events = Vec::new();
        if seq == 0 {
            return events;
        }
        loop {
            match self.take_any().await {
                Ok(Taken::Event(delivery)) => {
                    let reached = event(&delivery).seq >= seq;
                    events.push(*delivery);
                    if reached {
                        return events;
                    }
                }
                Ok(Taken::Bookmark(bookmark)) if bookmark.seq >= seq => return events,
                Ok(Taken::Bookmark(_)) => {}
                Err(status) => panic!("the stream ended before {seq}, after {} events: {status:?}", events.len()),
            }
        }
    }

    /// The next bookmark, and the events before it.
    pub async fn until_bookmark(&mut self) -> (Vec<EventDelivery>, Bookmark) {
        let mut events = Vec::new();
        loop {
            match self.take_any().await {
                Ok(Taken::Event(delivery)) => events.push(*delivery),
                Ok(Taken::Bookmark(bookmark)) => return (events, bookmark),
                Err(status) => panic!("the stream ended before a bookmark: {status:?}"),
            }
        }
    }

    /// The remaining events, and the status that ends the stream.
    pub async fn until_the_end(&mut self) -> (Vec<EventDelivery>, Status) {
        let mut events = Vec::new();
        loop {
            match self.take_any().await {
                Ok(Taken::Event(delivery)) => events.push(*delivery),
                Ok(Taken::Bookmark(_)) => {}
                Err(status) => return (events, status),
            }
        }
    }
}

/// The event of a delivery.
pub fn event(delivery: &EventDelivery) -> &Event {
    delivery.event.as_ref().expect("a delivery always holds its event")
}
