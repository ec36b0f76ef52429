//! A subscription to the events of an account that resumes when a stream ends.

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
    error::{is_retryable, refusal},
};

/// The trailer that contains the cursor of the position up to which the server sent everything before it ended the stream.
const CURSOR_TRAILER: &str = "parley-cursor-bin";

/// The default interval between bookmarks. A server that sends nothing for three intervals is considered dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The result of [`Subscriber::next`] and [`Consumer::next`](super::Consumer::next).
#[derive(Debug)]
pub enum Step {
    /// A response whose events and bookmark were checked against everything received before.
    Response(SubscribeResponse),
    /// The stream was lost. The next call waits for `pause` and then resumes after the last cursor.
    Resuming {
        /// The message of the status that ended the stream.
        reason: String,
        pause: Duration,
    },
}

/// Follows the events of an account across disconnections. It keeps its cursor in memory. To resume after a restart, store [`Self::cursor`]
/// together with the results of processing the events.
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
    /// Creates a subscriber, which connects on the first call to [`Self::next`]. Without `start`, it begins after the event that is the
    /// newest at the time of that call.
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

    /// Sets the interval between bookmarks, 1 to 60 seconds. A server that sends nothing for three intervals is considered dead.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self.request.heartbeat = prost_types::Duration::try_from(every).ok();
        self
    }

    /// Returns the position after everything that [`Self::next`] has returned, or `None` if no position is known yet.
    pub fn cursor(&self) -> Option<&Bytes> {
        match &self.request.start {
            Some(Start::After(cursor)) => Some(cursor),
            _ => None,
        }
    }

    /// Makes the next call to [`Self::next`] start at another position, for instance because the old one was lost. The first event received
    /// there is accepted with any `prev_seq`.
    pub fn restart(&mut self, start: Start) {
        self.request.start = Some(start);
        self.stream = None;
        self.resume_at = None;
        self.chain.restart();
    }

    /// Returns the next response, or reports that the stream was lost and will be resumed. Cancel safe: nothing that was received is lost.
    ///
    /// # Errors
    /// Returns [`Error`]. After [`Error::LostPosition`], call [`Self::restart`] to start at another position. After any other error the
    /// subscriber cannot be used.
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
            timeout(silence, self.open()).await.unwrap_or_else(|_| Err(silent_server()))?;
        }
        let Some(stream) = &mut self.stream else {
            return Err(Status::unavailable("the stream ended"));
        };
        // Cancel safe: the stream buffers everything that has arrived.
        match timeout(silence, stream.message()).await {
            Ok(next) => next?.ok_or_else(|| Status::unavailable("the stream ended")),
            Err(_) => Err(silent_server()),
        }
    }

    async fn open(&mut self) -> Result<(), Status> {
        if matches!(self.request.start, None | Some(Start::Latest(()))) {
            // Determine the head before opening the stream, so that no events are skipped if opening fails and is retried later.
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
        if !is_retryable(status) {
            return Err(refusal(status));
        }
        if !matches!(self.request.start, Some(Start::After(_)))
            && let Some(cursor) = status.metadata().get_bin(CURSOR_TRAILER).and_then(|value| value.to_bytes().ok())
        {
            self.request.start = Some(Start::After(cursor));
        }
        let pause = self.backoff.pause(status);
        self.resume_at = Some(Instant::now() + pause);
        let reason = status.message().to_owned();
        Ok(Step::Resuming { reason, pause })
    }
}

/// Returns the status for a server that neither responds nor closes the stream.
pub(super) fn silent_server() -> Status {
    Status::unavailable("the server stopped responding")
}

/// Returns the cursor of the position after everything in a response.
fn newest_cursor(response: &SubscribeResponse) -> Option<Bytes> {
    let bookmark = response.bookmark.as_ref().map(|bookmark| bookmark.cursor.clone());
    let complete = response.snapshot_complete.as_ref().map(|complete| complete.cursor.clone());
    bookmark
        .or_else(|| response.events.last().map(|delivery| delivery.cursor.clone()))
        .or(complete)
}
