//! A subscription that outlives its streams.

use std::time::Duration;

use parley_proto::{
    EventFilter, GetLogInfoRequest, SubscribeRequest, SubscribeResponse, events_service_client::EventsServiceClient,
    subscribe_request::Start,
};
use prost::bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming, transport::Channel};

use super::{
    Error, Server,
    backoff::Backoff,
    chain::Chain,
    error::{may_resume, refusal},
};

/// The trailer in which a server that ends a stream says how far it had sent.
const CURSOR_TRAILER: &str = "parley-cursor-bin";

/// How often a bookmark is asked for. A server that says nothing for three times as long is taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What came next.
#[derive(Debug)]
pub enum Step {
    /// Events and bookmarks, checked against the chain.
    Response(SubscribeResponse),
    /// The stream was lost; the next call pauses this long, then resumes after the last cursor.
    Resuming {
        /// What was said when it was lost.
        why: String,
        /// How long the pause is.
        pause: Duration,
    },
}

/// Follows the events of an account through every disconnection. It keeps its own cursor: store [`Self::cursor`] with your effects to go on
/// after a restart.
#[derive(Debug)]
pub struct Subscriber {
    client: EventsServiceClient<Channel>,
    server: Server,
    request: SubscribeRequest,
    heartbeat: Duration,
    stream: Option<Streaming<SubscribeResponse>>,
    chain: Chain,
    backoff: Backoff,
    resume_at: Option<Instant>,
}

impl Subscriber {
    /// Connects with the first call of [`Self::next`]. Without a start it begins at the head as it is then.
    pub fn new(server: Server, account_id: i64, start: Option<Start>, filter: EventFilter) -> Self {
        let request = SubscribeRequest {
            account_id,
            start,
            filter: Some(filter),
            ..SubscribeRequest::default()
        };
        Self {
            client: EventsServiceClient::new(server.channel()),
            server,
            request,
            heartbeat: HEARTBEAT,
            stream: None,
            chain: Chain::default(),
            backoff: Backoff::default(),
            resume_at: None,
        }
    }

    /// Asks for a bookmark this often, 1 to 60 seconds, and takes a server that says nothing for three times as long for dead.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self.request.heartbeat = prost_types::Duration::try_from(every).ok();
        self
    }

    /// The position after everything that [`Self::next`] gave; none before there is one.
    pub fn cursor(&self) -> Option<&Bytes> {
        match &self.request.start {
            Some(Start::After(cursor)) => Some(cursor),
            _ => None,
        }
    }

    /// Begins somewhere else, as after a lost position: nothing is known of what came before.
    pub fn restart(&mut self, start: Start) {
        self.request.start = Some(start);
        self.stream = None;
        self.resume_at = None;
        self.chain.restart();
    }

    /// What comes next. Cancel safe: nothing that was received is lost.
    ///
    /// # Errors
    /// [`Error`]. After [`Error::Lost`], [`Self::restart`] says where to begin again; after any other the subscriber is of no use.
    pub async fn next(&mut self) -> Result<Step, Error> {
        if let Some(at) = self.resume_at {
            sleep_until(at).await;
            self.resume_at = None;
        }
        let response = match self.receive().await {
            Ok(response) => response,
            Err(status) => return self.lost(&status),
        };
        self.backoff.reset();
        self.chain.check(&response)?;
        if let Some(cursor) = newest_cursor(&response) {
            self.request.start = Some(Start::After(cursor));
        }
        Ok(Step::Response(response))
    }

    async fn receive(&mut self) -> Result<SubscribeResponse, Status> {
        let silence = self.heartbeat * 3;
        if self.stream.is_none() {
            timeout(silence, self.open()).await.unwrap_or_else(|_| Err(silent()))?;
        }
        let Some(stream) = &mut self.stream else {
            return Err(Status::unavailable("the stream ended"));
        };
        // A wait that is dropped half-way loses nothing: the stream keeps what has arrived.
        match timeout(silence, stream.message()).await {
            Ok(next) => next?.ok_or_else(|| Status::unavailable("the stream ended")),
            Err(_) => Err(silent()),
        }
    }

    async fn open(&mut self) -> Result<(), Status> {
        if matches!(self.request.start, None | Some(Start::Latest(()))) {
            // A head that is known before the stream opens: what happens until then is not passed over after a lost start.
            let whose = GetLogInfoRequest {
                account_id: self.request.account_id,
            };
            let info = self.client.get_log_info(self.server.request(whose)).await?.into_inner();
            self.request.start = Some(Start::After(info.head_cursor));
        }
        let request = self.server.request(self.request.clone());
        self.stream = Some(self.client.subscribe(request).await?.into_inner());
        self.chain.stream_opened();
        Ok(())
    }

    fn lost(&mut self, status: &Status) -> Result<Step, Error> {
        self.stream = None;
        if !may_resume(status) {
            return Err(refusal(status));
        }
        if !matches!(self.request.start, Some(Start::After(_)))
            && let Some(cursor) = status.metadata().get_bin(CURSOR_TRAILER).and_then(|value| value.to_bytes().ok())
        {
            self.request.start = Some(Start::After(cursor));
        }
        let pause = self.backoff.pause(status);
        self.resume_at = Some(Instant::now() + pause);
        let why = status.message().to_owned();
        Ok(Step::Resuming { why, pause })
    }
}

/// A server that neither answers nor breaks off.
pub(super) fn silent() -> Status {
    Status::unavailable("the server has fallen silent")
}

/// The position after a response.
fn newest_cursor(response: &SubscribeResponse) -> Option<Bytes> {
    let bookmark = response.bookmark.as_ref().map(|bookmark| bookmark.cursor.clone());
    let complete = response.snapshot_complete.as_ref().map(|complete| complete.cursor.clone());
    bookmark
        .or_else(|| response.events.last().map(|delivery| delivery.cursor.clone()))
        .or(complete)
}
