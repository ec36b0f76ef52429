//! A client for durable consumers that reopens its session after disconnections.

use std::{collections::VecDeque, time::Duration};

use parley_proto::{
    ConsumeCommit, ConsumeCredit, ConsumeOpen, ConsumeRequest, ConsumeResponse, GetConsumerRequest, SubscribeResponse, consume_request,
    consume_response::Response, consumers_service_client::ConsumersServiceClient, events_service_client::EventsServiceClient,
};
use prost::bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    Error, Server, Step,
    backoff::Backoff,
    chain::Chain,
    error::{is_retryable, refusal},
    subscriber::silent_server,
};

/// The capacity of the queue of requests that wait to be sent on the stream.
const REQUEST_QUEUE: usize = 16;

/// The default interval between bookmarks. A server that sends nothing for three intervals is considered dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often a standby consumer checks whether its shard is free.
const STANDBY_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// What a consumer does when another session takes over its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTakeover {
    /// The consumer ends with [`Error::TakenOver`]: another instance was started to do the work.
    #[default]
    End,
    /// The consumer waits until no session owns the shard, and then opens a session again.
    Standby,
}

/// Options of a [`Consumer`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The maximum number of events that may be in flight. As [`Consumer::next`] returns events, it grants credit for more.
    pub window: u32,
    pub on_takeover: OnTakeover,
    /// Maximum interval between bookmarks, 1 to 60 seconds. A server that sends nothing for three intervals is considered dead.
    pub heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 1000,
            on_takeover: OnTakeover::End,
            heartbeat: HEARTBEAT,
        }
    }
}

/// A client for one shard of a durable consumer. After a disconnection, events that were returned but not committed are delivered again.
#[derive(Debug)]
pub struct Consumer {
    events: EventsServiceClient<Channel>,
    consumers: ConsumersServiceClient<Channel>,
    server: Server,
    open: ConsumeOpen,
    options: Options,
    session: Option<Session>,
    /// The status with which the session ended while a commit was pending. The next call to [`Self::next`] reports it, so that the caller
    /// knows that uncommitted events will be delivered again.
    broken: Option<Status>,
    backoff: Backoff,
    resume_at: Option<Instant>,
}

#[derive(Debug)]
struct Session {
    requests: mpsc::Sender<ConsumeRequest>,
    stream: Streaming<ConsumeResponse>,
    chain: Chain,
    /// The number of events returned since credit was last granted.
    returned: u32,
    fence: u64,
    /// Deliveries that arrived while a commit was pending.
    buffered: VecDeque<SubscribeResponse>,
}

fn request(request: consume_request::Request) -> ConsumeRequest {
    ConsumeRequest { request: Some(request) }
}

impl Consumer {
    /// Creates a consumer, which opens its session on the first call to [`Self::next`]. `open` specifies the account, consumer, shard and
    /// filter, and the position at which a new consumer starts. The credit and heartbeat in `open` are replaced by those in `options`.
    pub fn new(server: Server, open: ConsumeOpen, options: Options) -> Self {
        Self {
            events: EventsServiceClient::new(server.channel()),
            consumers: ConsumersServiceClient::new(server.channel()),
            server,
            open: ConsumeOpen {
                heartbeat: prost_types::Duration::try_from(options.heartbeat).ok(),
                credit: Some(ConsumeCredit {
                    events: options.window,
                    bytes: 0,
                }),
                ..open
            },
            options,
            session: None,
            broken: None,
            backoff: Backoff::default(),
            resume_at: None,
        }
    }

    /// Returns the fencing number of the open session, or `None` if no session is open. Pass it to stores that can reject writes with an
    /// older fencing number.
    pub fn fence(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.fence)
    }

    /// Returns the next [`Step`]. Its events and bookmarks were checked against everything received before. After [`Step::Resuming`],
    /// events that were not committed are delivered again. Cancel safe, except while a session is being opened: if the call is cancelled
    /// during that time, the next call opens another session, which takes over the shard.
    ///
    /// # Errors
    /// Returns [`Error`]. The consumer cannot be used afterwards, except after [`Error::LostPosition`] once the consumer was reset on the
    /// server.
    pub async fn next(&mut self) -> Result<Step, Error> {
        if let Some(at) = self.resume_at {
            sleep_until(at).await;
            self.resume_at = None;
        }
        if let Some(status) = self.broken.take() {
            return self.lost(&status).await;
        }
        let response = match self.receive().await {
            Ok(response) => response,
            Err(status) => return self.lost(&status).await,
        };
        self.backoff.reset();
        if let Some(session) = &mut self.session {
            session.chain.check(&response)?;
            session.returned += u32::try_from(response.events.len()).unwrap_or(u32::MAX);
            if session.returned >= self.options.window.div_ceil(2) {
                let credit = ConsumeCredit {
                    events: session.returned,
                    bytes: 0,
                };
                // Ignore a failure to send: if the session has ended, the next call to `receive` reports it, and if the queue is full, the
                // credit is granted with the next response.
                let _ = session
                    .requests
                    .try_send(request(consume_request::Request::Credit(credit)))
                    .map(|()| session.returned = 0);
            }
        }
        Ok(Step::Response(response))
    }

    /// Commits `cursor`, the cursor of a delivery or bookmark of this session, after everything up to it has been processed. Returns the
    /// stored cursor, or `None` if no session is open or the session ends before the commit is acknowledged, in which case uncommitted
    /// events are delivered again.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] for a cursor that does not belong to this session, [`Error::TakenOver`] if a newer session owns the
    /// shard, and otherwise the error with which the server ended the session.
    pub async fn commit(&mut self, cursor: Bytes) -> Result<Option<Bytes>, Error> {
        let Some(session) = &mut self.session else { return Ok(None) };
        let commit = request(consume_request::Request::Commit(ConsumeCommit { cursor }));
        if session.requests.send(commit).await.is_err() {
            // The next call to `next` reports why the session ended.
            return Ok(None);
        }
        loop {
            match timeout(self.options.heartbeat * 3, session.stream.message()).await {
                Ok(Ok(Some(message))) => match message.response {
                    Some(Response::Committed(committed)) => return Ok(Some(committed.cursor)),
                    Some(Response::Delivery(delivery)) => session.buffered.push_back(delivery),
                    _ => {}
                },
                Ok(Err(status)) if !is_retryable(&status) => {
                    let error = refusal(&status);
                    self.end_session(status);
                    return Err(error);
                }
                // The session broke or went silent. The next call to `next` reports this and schedules the opening of another session.
                Ok(Ok(None)) => return Ok(self.end_session(Status::unavailable("the session ended"))),
                Ok(Err(status)) => return Ok(self.end_session(status)),
                Err(_) => return Ok(self.end_session(silent_server())),
            }
        }
    }

    fn end_session(&mut self, status: Status) -> Option<Bytes> {
        self.session = None;
        self.broken = Some(status);
        None
    }

    async fn receive(&mut self) -> Result<SubscribeResponse, Status> {
        let silence = self.options.heartbeat * 3;
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                let opening = open(self.events.clone(), &self.server, self.open.clone());
                let opened = timeout(silence, opening).await;
                none.insert(opened.unwrap_or_else(|_| Err(silent_server()))?)
            }
        };
        if let Some(buffered) = session.buffered.pop_front() {
            return Ok(buffered);
        }
        loop {
            let message = match timeout(silence, session.stream.message()).await {
                Ok(message) => message?.ok_or_else(|| Status::unavailable("the session ended"))?,
                Err(_) => return Err(silent_server()),
            };
            if let Some(Response::Delivery(delivery)) = message.response {
                return Ok(delivery);
            }
        }
    }

    async fn lost(&mut self, status: &Status) -> Result<Step, Error> {
        self.session = None;
        let mut pause = self.backoff.pause(status);
        if !is_retryable(status) {
            match refusal(status) {
                Error::TakenOver if self.options.on_takeover == OnTakeover::Standby => {
                    self.wait_until_free().await?;
                    pause = Duration::ZERO;
                }
                error => return Err(error),
            }
        }
        self.resume_at = Some(Instant::now() + pause);
        let reason = status.message().to_owned();
        Ok(Step::Resuming { reason, pause })
    }

    /// Waits until no session owns the shard.
    async fn wait_until_free(&mut self) -> Result<(), Error> {
        loop {
            sleep(STANDBY_POLL_INTERVAL.mul_f64(rand::random_range(0.7..1.3))).await;
            let asked = GetConsumerRequest {
                account_id: self.open.account_id,
                name: self.open.consumer.clone(),
            };
            let found = timeout(self.options.heartbeat * 3, self.consumers.get_consumer(self.server.request(asked))).await;
            let found = match found.unwrap_or_else(|_| Err(silent_server())) {
                Ok(found) => found.into_inner().consumer.unwrap_or_default(),
                Err(status) if is_retryable(&status) => continue,
                Err(status) => return Err(refusal(&status)),
            };
            let shard = found.shards.iter().find(|shard| shard.shard == self.open.shard);
            if shard.is_none_or(|shard| !shard.connected) {
                return Ok(());
            }
        }
    }
}

async fn open(mut events: EventsServiceClient<Channel>, server: &Server, open: ConsumeOpen) -> Result<Session, Status> {
    let (requests, saying) = mpsc::channel(REQUEST_QUEUE);
    // Sending cannot fail: the queue is newly created, so it is empty and its receiver is open.
    let _ = requests.try_send(request(consume_request::Request::Open(open)));
    let mut stream = events.consume(server.request(ReceiverStream::new(saying))).await?.into_inner();
    let Some(Response::Opened(opened)) = stream.message().await?.and_then(|message| message.response) else {
        return Err(Status::unavailable("the session ended before it was opened"));
    };
    let mut chain = Chain::default();
    chain.stream_opened();
    Ok(Session {
        requests,
        stream,
        chain,
        returned: 0,
        fence: opened.fence,
        buffered: VecDeque::new(),
    })
}
