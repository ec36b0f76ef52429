//! The server: performs a scenario on the streams that clients open, and records what they request.

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

use super::{Act, EVENTS, Scenario};

/// The interval between bookmarks while the server behaves correctly.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What clients have requested so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The position after which each stream was to start, in the order in which the streams were opened.
    pub streams: Vec<u64>,
    /// The highest position that a durable consumer has committed.
    pub committed: u64,
}

#[derive(Clone, Debug)]
struct Misbehaving {
    scenario: Scenario,
    seen: Arc<Mutex<Seen>>,
}

/// Serves a scenario on a listener until the future is dropped, and records what clients request in `seen`.
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(scenario: Scenario, listener: TcpListener, seen: Arc<Mutex<Seen>>) -> Result<SocketAddr, tonic::transport::Error> {
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let service = EventsServiceServer::new(Misbehaving { scenario, seen });
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(address)
}

/// Encodes a cursor of this server: the seq in eight bytes.
fn cursor(seq: u64) -> Bytes {
    Bytes::copy_from_slice(&seq.to_be_bytes())
}

fn position(cursor: &[u8]) -> Result<u64, Status> {
    let bytes: [u8; 8] = cursor
        .try_into()
        .map_err(|_| Status::invalid_argument("this is not a cursor of mine"))?;
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

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Misbehaving {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs the steps for the next stream, after a position.
    async fn play(&self, from: u64) -> mpsc::Receiver<Result<SubscribeResponse, Status>> {
        let nth = {
            let mut seen = self.seen();
            seen.streams.push(from);
            seen.streams.len() - 1
        };
        let acts = self.scenario.streams.get(nth).copied().unwrap_or(&[Act::Finish]);
        if acts.first() == Some(&Act::NoAnswer) {
            std::future::pending::<()>().await;
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // An error means that the client has disconnected.
            let _ = perform(acts, from, &sender).await;
        });
        receiver
    }
}

async fn perform(
    acts: &'static [Act],
    mut at: u64,
    sender: &mpsc::Sender<Result<SubscribeResponse, Status>>,
) -> Result<(), mpsc::error::SendError<Result<SubscribeResponse, Status>>> {
    for act in acts {
        match *act {
            Act::Send(count) => {
                for _ in 0..count.min(EVENTS - at) {
                    sender.send(Ok(event(at + 1, at))).await?;
                    at += 1;
                }
            }
            Act::Finish => loop {
                while at < EVENTS {
                    sender.send(Ok(event(at + 1, at))).await?;
                    at += 1;
                }
                sender.send(Ok(bookmark(at))).await?;
                sleep(HEARTBEAT).await;
            },
            Act::Event(seq, prev_seq) => sender.send(Ok(event(seq, prev_seq))).await?,
            Act::UnknownKind => {
                let mut response = event(at + 1, at);
                for event in response.events.iter_mut().filter_map(|delivery| delivery.event.as_mut()) {
                    (event.kind, event.kind_name) = (9999, "weather.changed".to_owned());
                }
                at += 1;
                sender.send(Ok(response)).await?;
            }
            Act::Bookmark(seq) => sender.send(Ok(bookmark(seq))).await?,
            // What hyper reports for a broken connection: a code without any details of the service.
            Act::Cut => return sender.send(Err(Status::unknown("h2 protocol error: connection reset"))).await,
            Act::Silence | Act::NoAnswer => std::future::pending::<()>().await,
            Act::End(reason) => return sender.send(Err(end(reason))).await,
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl EventsService for Misbehaving {
    type SubscribeStream = Answers<SubscribeResponse>;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let from = match request.into_inner().start {
            None | Some(Start::Latest(())) => EVENTS,
            Some(Start::After(after)) => position(&after)?,
            Some(Start::Earliest(()) | Start::At(_) | Start::Snapshot(())) => 0,
        };
        Ok(Response::new(Box::pin(ReceiverStream::new(self.play(from).await))))
    }

    type ConsumeStream = Answers<pb::ConsumeResponse>;

    async fn consume(&self, request: Request<Streaming<pb::ConsumeRequest>>) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut inbound = request.into_inner();
        inbound.message().await?;
        let from = self.seen().committed;
        let mut outbound = self.play(from).await;
        let (sender, receiver) = mpsc::channel(1);
        let this = self.clone();
        tokio::spawn(async move {
            let opened = pb::ConsumeOpened {
                cursor: cursor(from),
                fence: this.seen().streams.len() as u64,
            };
            let mut next = Some(Ok(consume_response::Response::Opened(opened)));
            loop {
                if let Some(told) = next.take() {
                    let ended = told.is_err();
                    let told = told.map(|response| pb::ConsumeResponse { response: Some(response) });
                    if sender.send(told).await.is_err() || ended {
                        break;
                    }
                }
                tokio::select! {
                    said = inbound.message() => match said.ok().flatten().and_then(|said| said.request) {
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
                    told = outbound.recv() => match told {
                        Some(told) => next = Some(told.map(consume_response::Response::Delivery)),
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
