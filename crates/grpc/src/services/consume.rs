//! `EventsService.Consume`: sessions of durable consumers.

use futures_util::{FutureExt as _, stream};
use parley_eventlog::{
    consumer::{Opening, SHARDS, Seat, Session},
    cursor::Cursor,
    filter::Filter,
    hub::Kind,
    subscription::Credit,
};
use parley_proto::{
    self as pb, consume_open, consume_request::Request as Said, consume_response::Response as Told, frame::Frame, subscribe_request::Start,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::AccountId,
};
use prost::Message as _;
use tonic::{Request, Status, Streaming};

use super::{
    last_cursor::LastCursor,
    service_context::ServiceContext,
    stall::Watched,
    streams::{End, Watch},
};
use crate::{
    meter,
    status::{OrStatus as _, ended_at, to_status},
    validation::{
        fields::{Fields, required},
        subscriptions::{filter, heartbeat, start},
    },
};

/// Characters in a consumer's name.
const NAME: usize = 255;

/// What a client said meanwhile that is taken together.
const TOGETHER: usize = 256;

/// What a session sends.
pub type Frames = Watched<Frame>;

/// Opens a session by the first thing that its client says.
///
/// # Errors
/// [`Error::Invalid`] for a stream that does not begin with `open`; what opening it says.
pub async fn open(server: &ServiceContext, request: Request<Streaming<pb::ConsumeRequest>>) -> Result<Frames, Status> {
    let (metadata, extensions, mut inbound) = request.into_parts();
    let first = inbound.message().await?.and_then(|first| first.request);
    let Some(Said::Open(asked)) = first else {
        return Err(to_status(Error::invalid("open", Rule::Required, "must come first")));
    };
    let request = Request::from_parts(metadata, extensions, ());
    let account = AccountId(asked.account_id);
    super::request::caller(&request)
        .or_status()?
        .consume(account, &asked.consumer)
        .or_status()?;
    let watch = Watch::over(server, &request, account).or_status()?;
    let mut fields = Fields::default();
    fields.required_name("open.consumer", &asked.consumer, NAME);
    let (shard_count, shard) = (asked.shard_count.max(1), asked.shard);
    if shard_count > SHARDS {
        fields.refuse("open.shard_count", Rule::OutOfRange(SHARDS.into()), "must be between 1 and 256");
    } else if shard >= shard_count {
        fields.refuse(
            "open.shard",
            Rule::OutOfRange(i64::from(shard_count) - 1),
            "must be below shard_count",
        );
    }
    let begin = start(&mut fields, begin(asked.start).as_ref()).or_status()?;
    let checked = asked.filter.map(canonical);
    if let Some(checked) = &checked {
        fields.within("open", |fields| filter(fields, checked.clone(), watch.access()));
    }
    let heartbeat = fields.within("open", |fields| heartbeat(fields, asked.heartbeat.as_ref()));
    fields.done().or_status()?;
    let opening = Opening {
        seat: Seat {
            account,
            consumer: asked.consumer,
            shard: shard.into(),
        },
        shard_count: shard_count.into(),
        filter: checked.map(|filter| filter.encode_to_vec()),
    };
    let credit = asked.credit.map_or(Credit { events: 0, bytes: None }, |credit| Credit {
        events: credit.events.into(),
        bytes: Some(credit.bytes).filter(|bytes| *bytes > 0),
    });
    let stored = |bytes: &[u8]| stored_filter(bytes, &watch);
    let session = server
        .events
        .hub
        .consume(&opening, begin, stored, heartbeat, credit)
        .await
        .or_status()?;
    let opened = Told::Opened(pb::ConsumeOpened {
        cursor: session.began().encode(),
        fence: session.fence().cast_unsigned(),
    });
    let last = LastCursor::default();
    last.set(Some(session.position()));
    let consuming = Consuming {
        session,
        watch,
        last: last.clone(),
        inbound: Some(inbound),
        ready: Some(told(opened)),
        ended: false,
    };
    let frames = stream::unfold(consuming, |mut consuming| async move {
        let item = consuming.next().await;
        if item.is_none() {
            consuming.session.leave().await;
        }
        Some((item?, consuming))
    });
    Ok(server.stalls.watch(Kind::Consume, last, frames))
}

fn begin(start: Option<consume_open::Start>) -> Option<Start> {
    start.map(|start| match start {
        consume_open::Start::Earliest(()) => Start::Earliest(()),
        consume_open::Start::Latest(()) => Start::Latest(()),
        consume_open::Start::After(cursor) => Start::After(cursor),
        consume_open::Start::At(time) => Start::At(time),
    })
}

/// The same filter, however its lists were ordered.
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

/// A filter that was checked when the consumer was made, within what this caller may see.
fn stored_filter(bytes: &[u8], watch: &Watch) -> Filter {
    let stored = pb::EventFilter::decode(bytes).unwrap_or_default();
    filter(&mut Fields::default(), stored, watch.access())
}

fn told(response: Told) -> Frame {
    let mut frame = Frame::default();
    let response = pb::ConsumeResponse { response: Some(response) };
    frame.push(response.encode_to_vec().into());
    frame
}

/// A session on its way, until one of the ends that the contract names, or until its client says no more.
struct Consuming {
    session: Session,
    watch: Watch,
    last: LastCursor,
    /// None once the client said its last.
    inbound: Option<Streaming<pb::ConsumeRequest>>,
    ready: Option<Frame>,
    ended: bool,
}

/// What happened first.
enum Event {
    Ended(End),
    Said(Result<Option<pb::ConsumeRequest>, Status>),
    Next(Result<Frame>),
}

impl Consuming {
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(frame) = self.ready.take() {
                self.last.set(Some(self.session.position()));
                return Some(Ok(frame));
            }
            // Whoever says no more commits no more.
            let inbound = self.inbound.as_mut()?;
            let event = tokio::select! {
                biased;
                end = self.watch.ended() => Event::Ended(end),
                said = inbound.message() => Event::Said(said),
                next = self.session.next() => Event::Next(next),
            };
            match event {
                Event::Ended(end) => return Some(self.end(end.status()).await),
                Event::Said(Ok(None)) => return None,
                Event::Said(Ok(Some(first))) => {
                    if let Err(error) = self.hear(first).await {
                        return Some(self.end(to_status(error)).await);
                    }
                }
                Event::Said(Err(status)) => return Some(self.end(status).await),
                Event::Next(Ok(frame)) => self.ready = Some(frame),
                Event::Next(Err(error)) => return Some(self.end(to_status(error)).await),
            }
        }
    }

    /// Takes what the client said, and what it said right after: of several commits the last one that is further is stored.
    async fn hear(&mut self, first: pb::ConsumeRequest) -> Result<()> {
        let (mut said, mut farthest) = (Some(first), None::<Cursor>);
        for _ in 0..TOGETHER {
            match said.and_then(|said| said.request) {
                Some(Said::Commit(commit)) => {
                    let cursor = Cursor::decode("commit.cursor", &commit.cursor)?;
                    // One of another log must not hide behind a greater one.
                    farthest = farthest
                        .filter(|known| known.seq > cursor.seq && known.account == cursor.account)
                        .or(Some(cursor));
                }
                Some(Said::Credit(credit)) => self.session.grant(Credit {
                    events: credit.events.into(),
                    bytes: Some(credit.bytes),
                }),
                Some(Said::Open(_)) => return Err(Error::invalid("open", Rule::Invalid, "must come once, and first")),
                // What a newer client may say besides.
                None => {}
            }
            let ready = self.inbound.as_mut().and_then(|inbound| inbound.message().now_or_never());
            match ready {
                Some(Ok(Some(more))) => said = Some(more),
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
            self.ready = Some(told(Told::Committed(pb::ConsumeCommitted { cursor: stored })));
        }
        Ok(())
    }

    async fn end(&mut self, status: Status) -> Result<Frame, Status> {
        self.ended = true;
        let status = ended_at(status, Some(self.session.position()));
        meter::ended(Kind::Consume, &status);
        self.session.leave().await;
        Err(status)
    }
}
