//! A session of a durable consumer that outlives its connections.

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
    error::{may_resume, refusal},
    subscriber::silent,
};

/// What may be said to the server before it has taken what was said earlier.
const UNSAID: usize = 16;

/// How often a bookmark is asked for. A server that says nothing for three times as long is taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often a consumer that was taken over looks whether its shard is free again.
const LOOK: Duration = Duration::from_secs(3);

/// What to do when another session takes the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTakeover {
    /// Ends with [`Error::TakenOver`]: somebody else was started to do the work.
    #[default]
    End,
    /// Stands by, and takes the shard again once nobody has it.
    StandBy,
}

/// How a consumer works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Events that may be on their way at once. As they are taken, credit for more is granted.
    pub window: u32,
    /// What to do when another session takes the shard.
    pub on_takeover: OnTakeover,
    /// How often a bookmark comes at least, 1 to 60 seconds; a server that says nothing for three times as long is taken for dead.
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

/// One shard of a durable consumer. What was given and not committed comes again after a break.
#[derive(Debug)]
pub struct Consumer {
    events: EventsServiceClient<Channel>,
    consumers: ConsumersServiceClient<Channel>,
    server: Server,
    open: ConsumeOpen,
    options: Options,
    session: Option<Session>,
    /// How the session broke while a commit was waited for: the next step tells it, because events come again then.
    broken: Option<Status>,
    backoff: Backoff,
    resume_at: Option<Instant>,
}

#[derive(Debug)]
struct Session {
    said: mpsc::Sender<ConsumeRequest>,
    stream: Streaming<ConsumeResponse>,
    chain: Chain,
    /// Events taken since credit was granted last.
    taken: u32,
    fence: u64,
    /// Deliveries that came while a commit was waited for.
    early: VecDeque<SubscribeResponse>,
}

fn say(request: consume_request::Request) -> ConsumeRequest {
    ConsumeRequest { request: Some(request) }
}

impl Consumer {
    /// Opens with the first call of [`Self::next`]. `open` names account, consumer, shard, filter and where a new consumer begins; its credit
    /// and heartbeat follow from the options.
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

    /// The fencing number of the session that is open: hand it to stores that can refuse an older one.
    pub fn fence(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.fence)
    }

    /// What comes next: events and bookmarks, checked against the chain. After [`Step::Resuming`] what was not committed comes again. Cancel
    /// safe but while a session opens: one that was dropped then is taken over by the next.
    ///
    /// # Errors
    /// [`Error`]; the consumer is of no use afterwards, except that [`Error::Lost`] goes away once the consumer is reset.
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
            session.taken += u32::try_from(response.events.len()).unwrap_or(u32::MAX);
            if session.taken >= self.options.window.div_ceil(2) {
                let credit = ConsumeCredit {
                    events: session.taken,
                    bytes: 0,
                };
                // Whoever does not take it has gone, which the next receive says.
                let _ = session
                    .said
                    .try_send(say(consume_request::Request::Credit(credit)))
                    .map(|()| session.taken = 0);
            }
        }
        Ok(Step::Response(response))
    }

    /// Commits that everything up to a delivery's or a bookmark's cursor is done, and gives what is stored. A break meanwhile is no error: what
    /// was not stored comes again.
    ///
    /// # Errors
    /// [`Error::Refused`] for a cursor that is not of this session; [`Error::TakenOver`].
    pub async fn commit(&mut self, cursor: Bytes) -> Result<Option<Bytes>, Error> {
        let Some(session) = &mut self.session else { return Ok(None) };
        let commit = say(consume_request::Request::Commit(ConsumeCommit { cursor }));
        if session.said.send(commit).await.is_err() {
            // Why it ended is what the next step is told.
            return Ok(None);
        }
        loop {
            match timeout(self.options.heartbeat * 3, session.stream.message()).await {
                Ok(Ok(Some(message))) => match message.response {
                    Some(Response::Committed(committed)) => return Ok(Some(committed.cursor)),
                    Some(Response::Delivery(delivery)) => session.early.push_back(delivery),
                    _ => {}
                },
                Ok(Err(status)) if !may_resume(&status) => {
                    let error = refusal(&status);
                    self.broke(status);
                    return Err(error);
                }
                // It broke, or fell silent: the next step says so, and opens another session.
                Ok(Ok(None)) => return Ok(self.broke(Status::unavailable("the session ended"))),
                Ok(Err(status)) => return Ok(self.broke(status)),
                Err(_) => return Ok(self.broke(silent())),
            }
        }
    }

    fn broke(&mut self, status: Status) -> Option<Bytes> {
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
                none.insert(opened.unwrap_or_else(|_| Err(silent()))?)
            }
        };
        if let Some(early) = session.early.pop_front() {
            return Ok(early);
        }
        loop {
            let message = match timeout(silence, session.stream.message()).await {
                Ok(message) => message?.ok_or_else(|| Status::unavailable("the session ended"))?,
                Err(_) => return Err(silent()),
            };
            if let Some(Response::Delivery(delivery)) = message.response {
                return Ok(delivery);
            }
        }
    }

    async fn lost(&mut self, status: &Status) -> Result<Step, Error> {
        self.session = None;
        let mut pause = self.backoff.pause(status);
        if !may_resume(status) {
            match refusal(status) {
                Error::TakenOver if self.options.on_takeover == OnTakeover::StandBy => {
                    self.until_free().await?;
                    pause = Duration::ZERO;
                }
                error => return Err(error),
            }
        }
        self.resume_at = Some(Instant::now() + pause);
        let why = status.message().to_owned();
        Ok(Step::Resuming { why, pause })
    }

    /// Waits until nobody has the shard.
    async fn until_free(&mut self) -> Result<(), Error> {
        loop {
            sleep(LOOK.mul_f64(rand::random_range(0.7..1.3))).await;
            let asked = GetConsumerRequest {
                account_id: self.open.account_id,
                name: self.open.consumer.clone(),
            };
            let found = timeout(self.options.heartbeat * 3, self.consumers.get_consumer(self.server.request(asked))).await;
            let found = match found.unwrap_or_else(|_| Err(silent())) {
                Ok(found) => found.into_inner().consumer.unwrap_or_default(),
                Err(status) if may_resume(&status) => continue,
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
    let (said, saying) = mpsc::channel(UNSAID);
    // There is room: nothing was said yet.
    let _ = said.try_send(say(consume_request::Request::Open(open)));
    let mut stream = events.consume(server.request(ReceiverStream::new(saying))).await?.into_inner();
    let Some(Response::Opened(opened)) = stream.message().await?.and_then(|message| message.response) else {
        return Err(Status::unavailable("the session ended before it was open"));
    };
    let mut chain = Chain::default();
    chain.stream_opened();
    Ok(Session {
        said,
        stream,
        chain,
        taken: 0,
        fence: opened.fence,
        early: VecDeque::new(),
    })
}
