//! Implements `EventsService.Consume`: the sessions of durable consumers.

use futures_util::{FutureExt as _, stream};
use parley_eventlog::{
    broadcaster::StreamKind,
    consumer::{ConsumerShardId, MAX_SHARDS, OpenSession, Session},
    cursor::Cursor,
    filter::Filter,
    subscription::Credit,
};
use parley_proto::{
    self as pb, consume_open, consume_request::Request as RequestKind, consume_response::Response as ResponseKind, frame::Frame,
    subscribe_request::Start,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::AccountId,
};
use prost::Message as _;
use tonic::{Request, Status, Streaming};

use super::{
    service_context::ServiceContext,
    stall::WatchedStream,
    stream_position::StreamPosition,
    streams::{End, StreamGuard},
};
use crate::{
    meter,
    status::{OrStatus as _, ended_at, to_status},
    validation::{
        fields::{Validator, required},
        subscriptions::{filter, heartbeat, start},
    },
};

/// Maximum length of a consumer's name in characters.
const NAME: usize = 255;

/// Maximum number of queued client requests that are handled in one batch.
const MAX_BATCHED_REQUESTS: usize = 256;

/// The response stream of a durable consumer's session.
pub type Frames = WatchedStream<Frame>;

/// Opens a session from the first request of the stream.
///
/// # Errors
/// Returns [`Error::Invalid`] if the stream does not begin with `open` or its fields are invalid. Errors in authorizing the caller or
/// opening the session are passed through.
pub async fn open(server: &ServiceContext, request: Request<Streaming<pb::ConsumeRequest>>) -> Result<Frames, Status> {
    let (metadata, extensions, mut inbound) = request.into_parts();
    let first = inbound.message().await?.and_then(|first| first.request);
    let Some(RequestKind::Open(open)) = first else {
        return Err(to_status(Error::invalid(
            "open",
            Rule::Required,
            "must be the first message of the stream",
        )));
    };
    let request = Request::from_parts(metadata, extensions, ());
    let account = AccountId(open.account_id);
    super::request::caller(&request)
        .or_status()?
        .consume(account, &open.consumer)
        .or_status()?;
    let guard = StreamGuard::over(server, &request, account).or_status()?;
    let mut fields = Validator::default();
    fields.required_name("open.consumer", &open.consumer, NAME);
    let (shard_count, shard) = (open.shard_count.max(1), open.shard);
    if shard_count > MAX_SHARDS {
        fields.add_violation("open.shard_count", Rule::OutOfRange(MAX_SHARDS.into()), "must be between 1 and 256");
    } else if shard >= shard_count {
        fields.add_violation(
            "open.shard",
            Rule::OutOfRange(i64::from(shard_count) - 1),
            "must be below shard_count",
        );
    }
    let begin = start(&mut fields, begin(open.start).as_ref()).or_status()?;
    let checked = open.filter.map(canonical);
    if let Some(checked) = &checked {
        fields.within("open", |fields| filter(fields, checked.clone(), guard.access()));
    }
    let heartbeat = fields.within("open", |fields| heartbeat(fields, open.heartbeat.as_ref()));
    fields.finish().or_status()?;
    let opening = OpenSession {
        shard_id: ConsumerShardId {
            account,
            consumer: open.consumer,
            shard: shard.into(),
        },
        shard_count: shard_count.into(),
        filter: checked.map(|filter| filter.encode_to_vec()),
    };
    let credit = open.credit.map_or(Credit { events: 0, bytes: None }, |credit| Credit {
        events: credit.events.into(),
        bytes: Some(credit.bytes).filter(|bytes| *bytes > 0),
    });
    let stored = |bytes: &[u8]| stored_filter(bytes, &guard);
    let session = server
        .events
        .broadcaster
        .consume(&opening, begin, stored, heartbeat, credit)
        .await
        .or_status()?;
    let opened = ResponseKind::Opened(pb::ConsumeOpened {
        cursor: session.started_at().encode(),
        fence: session.fence().cast_unsigned(),
    });
    let position = StreamPosition::default();
    position.set(Some(session.position()));
    let consumer_stream = ConsumerStream {
        session,
        guard,
        position: position.clone(),
        inbound: Some(inbound),
        ready: Some(to_frame(opened)),
        ended: false,
    };
    let frames = stream::unfold(consumer_stream, |mut consumer_stream| async move {
        let item = consumer_stream.next().await;
        if item.is_none() {
            consumer_stream.session.release_lease().await;
        }
        Some((item?, consumer_stream))
    });
    Ok(server.stalls.watch(StreamKind::Consume, position, frames))
}

fn begin(start: Option<consume_open::Start>) -> Option<Start> {
    start.map(|start| match start {
        consume_open::Start::Earliest(()) => Start::Earliest(()),
        consume_open::Start::Latest(()) => Start::Latest(()),
        consume_open::Start::After(cursor) => Start::After(cursor),
        consume_open::Start::At(time) => Start::At(time),
    })
}

/// Sorts the lists in a filter and removes duplicates, so that equal filters have equal bytes.
fn canonical(mut filter: pb::EventFilter) -> pb::EventFilter {
    fn sort<T: Ord>(list: &mut Vec<T>) {
        list.sort_unstable();
        list.dedup();
    }
    sort(&mut filter.kinds);
    sort(&mut filter.inbox_ids);
    sort(&mut filter.conversation_ids);
    sort(&mut filter.contact_ids);
    sort(&mut filter.message_types);
    filter
}

/// Decodes a consumer's stored filter and restricts it to the inboxes and contacts that this caller may access. The filter was validated
/// when the consumer was created.
fn stored_filter(bytes: &[u8], guard: &StreamGuard) -> Filter {
    let stored = pb::EventFilter::decode(bytes).unwrap_or_default();
    filter(&mut Validator::default(), stored, guard.access())
}

fn to_frame(response: ResponseKind) -> Frame {
    let mut frame = Frame::default();
    let response = pb::ConsumeResponse { response: Some(response) };
    frame.push(response.encode_to_vec().into());
    frame
}

/// An open session of a durable consumer. It ends for one of the reasons that the contract lists, or when the client closes its side.
struct ConsumerStream {
    session: Session,
    guard: StreamGuard,
    position: StreamPosition,
    /// The client's requests; `None` after the client has closed its side.
    inbound: Option<Streaming<pb::ConsumeRequest>>,
    ready: Option<Frame>,
    ended: bool,
}

/// The branch of the `select!` in [`ConsumerStream::next`] that completed first.
enum Event {
    Ended(End),
    Received(Result<Option<pb::ConsumeRequest>, Status>),
    Next(Result<Frame>),
}

impl ConsumerStream {
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(frame) = self.ready.take() {
                self.position.set(Some(self.session.position()));
                return Some(Ok(frame));
            }
            // A client that has closed its side can no longer commit, so the session ends.
            let inbound = self.inbound.as_mut()?;
            let event = tokio::select! {
                biased;
                end = self.guard.ended() => Event::Ended(end),
                received = inbound.message() => Event::Received(received),
                next = self.session.next() => Event::Next(next),
            };
            match event {
                Event::Ended(end) => return Some(self.end(end.status()).await),
                Event::Received(Ok(None)) => return None,
                Event::Received(Ok(Some(first))) => {
                    if let Err(error) = self.handle_requests(first).await {
                        return Some(self.end(to_status(error)).await);
                    }
                }
                Event::Received(Err(status)) => return Some(self.end(status).await),
                Event::Next(Ok(frame)) => self.ready = Some(frame),
                Event::Next(Err(error)) => return Some(self.end(to_status(error)).await),
            }
        }
    }

    /// Handles a client request together with any requests already queued behind it. If there are several commits, only the one farthest
    /// ahead is stored.
    async fn handle_requests(&mut self, first: pb::ConsumeRequest) -> Result<()> {
        let (mut received, mut farthest) = (Some(first), None::<Cursor>);
        for _ in 0..MAX_BATCHED_REQUESTS {
            match received.and_then(|received| received.request) {
                Some(RequestKind::Commit(commit)) => {
                    let cursor = Cursor::decode("commit.cursor", &commit.cursor)?;
                    // A cursor that belongs to another account replaces the farthest cursor even if its seq is lower, so that `commit`
                    // rejects it.
                    farthest = farthest
                        .filter(|known| known.seq > cursor.seq && known.account == cursor.account)
                        .or(Some(cursor));
                }
                Some(RequestKind::Credit(credit)) => self.session.grant(Credit {
                    events: credit.events.into(),
                    bytes: Some(credit.bytes),
                }),
                Some(RequestKind::Open(_)) => {
                    return Err(Error::invalid(
                        "open",
                        Rule::Invalid,
                        "must be sent once, as the first message of the stream",
                    ));
                }
                // The client is newer and sent a request type that this version does not know. Ignore the request.
                None => {}
            }
            let ready = self.inbound.as_mut().and_then(|inbound| inbound.message().now_or_never());
            match ready {
                Some(Ok(Some(more))) => received = Some(more),
                Some(Ok(None) | Err(_)) => {
                    self.inbound = None;
                    break;
                }
                None => break,
            }
        }
        if let Some(cursor) = farthest {
            let cursor = required("commit.cursor", Some(cursor))?;
            let stored = self.session.commit(cursor).await?.encode();
            self.ready = Some(to_frame(ResponseKind::Committed(pb::ConsumeCommitted { cursor: stored })));
        }
        Ok(())
    }

    async fn end(&mut self, status: Status) -> Result<Frame, Status> {
        self.ended = true;
        let status = ended_at(status, Some(self.session.position()));
        meter::ended(StreamKind::Consume, &status);
        self.session.release_lease().await;
        Err(status)
    }
}
