//! Follows the events of an account through every disconnection: keeps the cursor, resumes after it, checks the chain.
//! Knows nothing of terminals; a client library may take it as it is.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    cli::connect::Credential,
    pb::{
        self, EventFilter, GetLogInfoRequest, SubscribeRequest, SubscribeResponse, events_service_client::EventsServiceClient,
        subscribe_request::Start,
    },
};

/// The first pause before a new connection; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: an outage is noticed to be over within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The trailer in which a server that ends a stream says how far it had sent.
const CURSOR_TRAILER: &str = "parley-cursor-bin";

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

/// Why following cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// What follows the cursor is gone for good.
    #[error("{0}")]
    CursorLost(String),
    /// The server refuses, and would again.
    #[error("the server refused: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    /// An event is missing, doubled or out of order: never to be passed over in silence.
    #[error("THE CHAIN IS BROKEN: event {seq} says that {prev_seq} came before it, but the last one seen is {last_seq}")]
    ChainBroken {
        /// The seq of the event.
        seq: u64,
        /// What the event says came before it.
        prev_seq: u64,
        /// What did come before it.
        last_seq: u64,
    },
}

/// A subscription that outlives its streams.
#[derive(Debug)]
pub struct Follower {
    client: EventsServiceClient<Channel>,
    credential: Credential,
    request: SubscribeRequest,
    stream: Option<Streaming<SubscribeResponse>>,
    chain: Chain,
    pause: Duration,
    resume_at: Option<Instant>,
}

impl Follower {
    /// Connects with the first call of [`Self::next`]. Without a start it begins at the head as it is then.
    pub fn new(channel: Channel, credential: Credential, account_id: i64, start: Option<Start>, filter: EventFilter) -> Self {
        let request = SubscribeRequest {
            account_id,
            start,
            filter: Some(filter),
            ..SubscribeRequest::default()
        };
        Self {
            client: EventsServiceClient::new(channel),
            credential,
            request,
            stream: None,
            chain: Chain::default(),
            pause: FIRST_PAUSE,
            resume_at: None,
        }
    }

    /// What comes next. Cancel safe: nothing that was received is lost.
    ///
    /// # Errors
    /// [`FollowError`]; the follower is of no use afterwards.
    pub async fn next(&mut self) -> Result<Step, FollowError> {
        if let Some(at) = self.resume_at {
            tokio::time::sleep_until(at).await;
            self.resume_at = None;
        }
        let response = match self.receive().await {
            Ok(response) => response,
            Err(status) => return self.lost(&status),
        };
        self.pause = FIRST_PAUSE;
        self.chain.check(&response)?;
        if let Some(cursor) = newest_cursor(&response) {
            self.request.start = Some(Start::After(cursor));
        }
        Ok(Step::Response(response))
    }

    async fn receive(&mut self) -> Result<SubscribeResponse, Status> {
        if self.stream.is_none() {
            if matches!(self.request.start, None | Some(Start::Latest(()))) {
                // A head that is known before the stream opens: what happens until then is not passed over after a lost start.
                let whose = GetLogInfoRequest {
                    account_id: self.request.account_id,
                };
                let info = self.client.get_log_info(self.credential.request(whose)).await?.into_inner();
                self.request.start = Some(Start::After(info.head_cursor));
            }
            let request = self.credential.request(self.request.clone());
            self.stream = Some(self.client.subscribe(request).await?.into_inner());
            self.chain.stream_opened();
        }
        let next = match &mut self.stream {
            Some(stream) => stream.message().await?,
            None => None,
        };
        next.ok_or_else(|| Status::unavailable("the stream ended"))
    }

    fn lost(&mut self, status: &Status) -> Result<Step, FollowError> {
        self.stream = None;
        if !may_resume(status) {
            return Err(refusal(status));
        }
        if !matches!(self.request.start, Some(Start::After(_)))
            && let Some(cursor) = status.metadata().get_bin(CURSOR_TRAILER).and_then(|value| value.to_bytes().ok())
        {
            self.request.start = Some(Start::After(cursor));
        }
        // Jitter, so that the subscribers of a server that left do not all come back in the same moment.
        let asked = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .unwrap_or_default();
        let pause = self.pause.mul_f64(rand::random_range(0.5..1.0)).max(asked);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.resume_at = Some(Instant::now() + pause);
        let why = status.message().to_owned();
        Ok(Step::Resuming { why, pause })
    }
}

/// The position after a response.
fn newest_cursor(response: &SubscribeResponse) -> Option<prost::bytes::Bytes> {
    let bookmark = response.bookmark.as_ref().map(|bookmark| bookmark.cursor.clone());
    bookmark.or_else(|| response.events.last().map(|delivery| delivery.cursor.clone()))
}

/// Whether the same request may succeed later. What a connection that broke leaves behind has one of several codes, but never an `ErrorInfo`.
fn may_resume(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.get_details_error_info().is_none(),
        _ => false,
    }
}

fn refusal(status: &Status) -> FollowError {
    let Some(info) = status.get_details_error_info() else {
        return FollowError::Refused(Box::new(status.clone()));
    };
    let kept = |key: &str| info.metadata.get(key).cloned().unwrap_or_else(|| "?".to_owned());
    let (earliest, head) = (kept("earliest_seq"), kept("head_seq"));
    FollowError::CursorLost(match info.reason.as_str() {
        "CURSOR_EXPIRED" => {
            format!("what follows this cursor is no longer kept; the log now holds {earliest} to {head}. Start again with --from earliest")
        }
        "CURSOR_AHEAD_OF_LOG" => {
            format!("this cursor is ahead of the log, which ends at {head}: it comes from elsewhere, or the log lost its end")
        }
        "EPOCH_CHANGED" => {
            "the log's history was replaced (a restore): this cursor is of the old one. Start again with --from earliest".to_owned()
        }
        _ => return FollowError::Refused(Box::new(status.clone())),
    })
}

/// What must hold between one event and the next.
#[derive(Debug, Default)]
struct Chain {
    /// None: no event came yet, so nothing is known of what came before.
    last_seq: Option<u64>,
    fresh_stream: bool,
}

impl Chain {
    fn stream_opened(&mut self) {
        self.fresh_stream = true;
    }

    fn check(&mut self, response: &SubscribeResponse) -> Result<(), FollowError> {
        for pb::EventDelivery { prev_seq, event, .. } in &response.events {
            let (seq, prev_seq) = (event.as_ref().map_or(0, |event| event.seq), *prev_seq);
            if let Some(last_seq) = self.last_seq {
                // Right after resuming, the event before may have been trimmed: the server then says 0.
                let trimmed = self.fresh_stream && prev_seq == 0;
                if seq <= last_seq || (prev_seq != last_seq && !trimmed) {
                    return Err(FollowError::ChainBroken { seq, prev_seq, last_seq });
                }
            }
            self.last_seq = Some(seq);
            self.fresh_stream = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn response(links: &[(u64, u64)]) -> SubscribeResponse {
        let delivery = |&(prev_seq, seq): &(u64, u64)| pb::EventDelivery {
            prev_seq,
            event: Some(pb::Event {
                seq,
                ..pb::Event::default()
            }),
            ..pb::EventDelivery::default()
        };
        SubscribeResponse {
            events: links.iter().map(delivery).collect(),
            ..SubscribeResponse::default()
        }
    }

    #[test]
    fn a_chain_goes_on_across_streams() {
        let mut chain = Chain::default();
        chain.stream_opened();
        chain.check(&response(&[(3, 5), (5, 9)])).unwrap();
        chain.stream_opened();
        chain.check(&response(&[(9, 10)])).unwrap();
        chain.stream_opened();
        chain.check(&response(&[(0, 12), (12, 13)])).unwrap();
    }

    #[test]
    fn a_hole_a_repetition_and_a_forgotten_past_break_it() {
        for links in [[(3, 5), (6, 7)], [(3, 5), (3, 5)], [(3, 5), (0, 6)]] {
            let mut chain = Chain::default();
            chain.stream_opened();
            let error = chain.check(&response(&links)).unwrap_err();
            assert!(matches!(error, FollowError::ChainBroken { last_seq: 5, .. }), "{error}");
        }
    }

    #[test]
    fn a_lost_cursor_is_told_in_plain_words_and_a_broken_connection_is_not_final() {
        let metadata = [
            ("earliest_seq".to_owned(), "1000".to_owned()),
            ("head_seq".to_owned(), "2000".to_owned()),
        ];
        let details = ErrorDetails::with_error_info("CURSOR_EXPIRED", "parley", metadata);
        let status = Status::with_error_details(Code::OutOfRange, "expired", details);
        assert!(!may_resume(&status));
        assert!(refusal(&status).to_string().contains("now holds 1000 to 2000"));
        assert!(may_resume(&Status::unknown("h2 protocol error")));
        let details = ErrorDetails::with_error_info("INTERNAL", "parley", []);
        assert!(!may_resume(&Status::with_error_details(Code::Internal, "a fault", details)));
        assert!(!may_resume(&Status::unauthenticated("unknown token")));
    }
}
