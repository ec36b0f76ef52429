//! The misbehaving server, which performs a scenario on the streams that clients open and records their requests.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use parley_proto::{
    self as pb, SubscribeResponse, consume_request, consume_response,
    events_service_server::{EventsService, EventsServiceServer},
    subscribe_request::Start,
};
use prost::bytes::Bytes;
use tokio::{net::TcpListener, sync::mpsc, time::sleep};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{EVENTS, Scenario, Step};

/// The interval between bookmarks while the server behaves correctly.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What clients have requested so far.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// The start positions that clients requested, one per stream, in the order in which the streams were opened. A stream starts after its
    /// position.
    pub streams: Vec<u64>,
    /// The highest position that a durable consumer has committed.
    pub committed: u64,
}

#[derive(Clone, Debug)]
struct Misbehaving {
    scenario: Scenario,
    seen: Arc<Mutex<Requests>>,
}

/// Serves a scenario on a listener until the future is dropped, and records what clients request in `seen`.
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(scenario: Scenario, listener: TcpListener, seen: Arc<Mutex<Requests>>) -> Result<SocketAddr, tonic::transport::Error> {
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let service = EventsServiceServer::new(Misbehaving { scenario, seen });
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(address)
}

/// Encodes a cursor, which for this server is the seq in eight big-endian bytes.
fn cursor(seq: u64) -> Bytes {
    Bytes::copy_from_slice(&seq.to_be_bytes())
}

fn position(cursor: &[u8]) -> Result<u64, Status> {
    let bytes: [u8; 8] = cursor
        .try_into()
        .map_err(|_| Status::invalid_argument("the cursor was not issued by this server"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn event(seq: u64, prev_seq: u64) -> SubscribeResponse {
    let kind = pb::EventKind::MessageCreated;
    let event = pb::Event {
        event_id: format!("conformance-{seq}"),
        account_id: 1,
        seq,
        transaction_id: seq,
        transaction_end: true,
        kind: kind.into(),
        kind_name: kind.event_name().to_owned(),
        ..pb::Event::default()
    };
    SubscribeResponse {
        events: vec![pb::EventDelivery {
            prev_seq,
            cursor: cursor(seq),
            event: Some(event),
        }],
        ..SubscribeResponse::default()
    }
}

fn bookmark(seq: u64) -> SubscribeResponse {
    SubscribeResponse {
        bookmark: Some(pb::Bookmark {
            cursor: cursor(seq),
            seq,
            head_seq: EVENTS,
        }),
        ..SubscribeResponse::default()
    }
}

fn end(reason: &'static str) -> Status {
    let (code, retry) = match reason {
        "STREAM_ROTATED" => (Code::Unavailable, Some(Duration::from_millis(50))),
        "BUSY" => (Code::ResourceExhausted, Some(Duration::from_millis(300))),
        "TOKEN_INVALID" => (Code::Unauthenticated, None),
        "CONSUMER_TAKEN_OVER" => (Code::Aborted, None),
        _ => (Code::OutOfRange, None),
    };
    let metadata = [("earliest_seq", "900"), ("head_seq", "1000"), ("epoch", "0badcafe")];
    let mut details = ErrorDetails::with_error_info(reason, "parley", metadata.map(|(key, value)| (key.to_owned(), value.to_owned())));
    details.set_retry_info(retry);
    Status::with_error_details(code, reason.to_lowercase(), details)
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Misbehaving {
    fn seen(&self) -> MutexGuard<'_, Requests> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs the scenario's steps for the next stream, which starts after the given position.
    async fn run_scenario(&self, from: u64) -> mpsc::Receiver<Result<SubscribeResponse, Status>> {
        let nth = {
            let mut seen = self.seen();
            seen.streams.push(from);
            seen.streams.len() - 1
        };
        let steps = self.scenario.streams.get(nth).copied().unwrap_or(&[Step::Finish]);
        if steps.first() == Some(&Step::NeverOpens) {
            std::future::pending::<()>().await;
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // An error means that the client has disconnected.
            let _ = run_steps(steps, from, &sender).await;
        });
        receiver
    }
}

async fn run_steps(
    steps: &'static [Step],
    mut at: u64,
    sender: &mpsc::Sender<Result<SubscribeResponse, Status>>,
) -> Result<(), mpsc::error::SendError<Result<SubscribeResponse, Status>>> {
    for step in steps {
        match *step {
            Step::Send(count) => {
                for _ in 0..count.min(EVENTS - at) {
                    sender.send(Ok(event(at + 1, at))).await?;
                    at += 1;
                }
            }
            Step::Finish => loop {
                while at < EVENTS {
                    sender.send(Ok(event(at + 1, at))).await?;
                    at += 1;
                }
                sender.send(Ok(bookmark(at))).await?;
                sleep(HEARTBEAT).await;
            },
            Step::Event(seq, prev_seq) => sender.send(Ok(event(seq, prev_seq))).await?,
            Step::UnknownKind => {
                let mut response = event(at + 1, at);
                for event in response.events.iter_mut().filter_map(|delivery| delivery.event.as_mut()) {
                    (event.kind, event.kind_name) = (9999, "weather.changed".to_owned());
                }
                at += 1;
                sender.send(Ok(response)).await?;
            }
            Step::Bookmark(seq) => sender.send(Ok(bookmark(seq))).await?,
            // The status that hyper reports for a broken connection: a code without any error details from the service.
            Step::Disconnect => return sender.send(Err(Status::unknown("h2 protocol error: connection reset"))).await,
            Step::GoSilent | Step::NeverOpens => std::future::pending::<()>().await,
            Step::End(reason) => return sender.send(Err(end(reason))).await,
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl EventsService for Misbehaving {
    type SubscribeStream = ResponseStream<SubscribeResponse>;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let from = match request.into_inner().start {
            None | Some(Start::Latest(())) => EVENTS,
            Some(Start::After(after)) => position(&after)?,
            Some(Start::Earliest(()) | Start::At(_) | Start::Snapshot(())) => 0,
        };
        Ok(Response::new(Box::pin(ReceiverStream::new(self.run_scenario(from).await))))
    }

    type ConsumeStream = ResponseStream<pb::ConsumeResponse>;

    async fn consume(&self, request: Request<Streaming<pb::ConsumeRequest>>) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut inbound = request.into_inner();
        inbound.message().await?;
        let from = self.seen().committed;
        let mut outbound = self.run_scenario(from).await;
        let (sender, receiver) = mpsc::channel(1);
        let this = self.clone();
        tokio::spawn(async move {
            let opened = pb::ConsumeOpened {
                cursor: cursor(from),
                fence: this.seen().streams.len() as u64,
            };
            let mut next = Some(Ok(consume_response::Response::Opened(opened)));
            loop {
                if let Some(response) = next.take() {
                    let ended = response.is_err();
                    let response = response.map(|response| pb::ConsumeResponse { response: Some(response) });
                    if sender.send(response).await.is_err() || ended {
                        break;
                    }
                }
                tokio::select! {
                    request = inbound.message() => match request.ok().flatten().and_then(|request| request.request) {
                        Some(consume_request::Request::Commit(commit)) => {
                            next = Some(position(&commit.cursor).map(|seq| {
                                let mut seen = this.seen();
                                seen.committed = seen.committed.max(seq);
                                consume_response::Response::Committed(pb::ConsumeCommitted { cursor: cursor(seen.committed) })
                            }));
                        }
                        Some(_) => {}
                        None => break,
                    },
                    response = outbound.recv() => match response {
                        Some(response) => next = Some(response.map(consume_response::Response::Delivery)),
                        None => break,
                    },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_log_info(&self, _: Request<pb::GetLogInfoRequest>) -> Result<Response<pb::GetLogInfoResponse>, Status> {
        Ok(Response::new(pb::GetLogInfoResponse {
            epoch: "0badcafe".to_owned(),
            earliest_seq: 1,
            head_seq: EVENTS,
            head_cursor: cursor(EVENTS),
            retention: None,
        }))
    }
}
