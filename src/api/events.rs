//! `EventsService`.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use prost_types::Duration as WireDuration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Api,
    fields::Fields,
    identity,
    layers::Identity,
    status::{rotated, stalled},
};
use crate::{
    chat::{caller::Access, tokens::Tokens},
    error::{Error, Result, Rule},
    events::{
        cursor::Cursor,
        filter::Filter,
        subscription::{Start, Subscription},
    },
    id::{AccountId, ContactId, ConversationId, InboxId},
    pb::{self, frame::Frame, frames::events_service_server::EventsService, subscribe_request},
};

/// Entries in a list of a filter.
const LIST: usize = 1000;

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

#[tonic::async_trait]
impl EventsService for Api {
    type SubscribeStream = Frames;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Result<Response<Frames>, Status> {
        let identity = identity(&request)?;
        let asked = request.into_inner();
        let account = AccountId(asked.account_id);
        let access = identity.caller.access(account)?.clone();
        let mut fields = Fields::default();
        let start = start(&mut fields, asked.start.as_ref())?;
        let filter = filter(&mut fields, asked.filter.unwrap_or_default(), &access);
        let heartbeat = heartbeat(&mut fields, asked.heartbeat.as_ref());
        fields.done()?;
        let subscription = self
            .chat
            .events
            .hub
            .subscribe(account, start, filter, heartbeat, asked.ephemeral)
            .await?;
        let lease = Lease {
            tokens: self.chat.tokens.clone(),
            identity,
            account,
            access,
            every: self.config.recheck,
            due: Instant::now() + self.config.recheck,
        };
        let following = Following {
            subscription,
            lease,
            drain: self.drain.clone(),
            stall_timeout: self.config.stall_timeout,
            handed_out: None,
            ended: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(following, |mut following| async move {
            let item = following.next().await?;
            Some((item, following))
        }))))
    }

    type ConsumeStream = Pin<Box<dyn Stream<Item = Result<pb::ConsumeResponse, Status>> + Send>>;

    async fn consume(&self, request: Request<Streaming<pb::ConsumeRequest>>) -> Result<Response<Self::ConsumeStream>, Status> {
        drop(request);
        Err(Error::Unimplemented("this version serves no durable consumers; use Subscribe and keep its cursor").into())
    }

    async fn get_log_info(&self, request: Request<pb::GetLogInfoRequest>) -> Result<Response<pb::GetLogInfoResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        identity(&request)?.caller.access(account)?;
        let reach = self.chat.events.log.reach(account).await?;
        Ok(Response::new(pb::GetLogInfoResponse {
            epoch: format!("{:x}", reach.epoch),
            earliest_seq: reach.earliest.to_wire(),
            head_seq: reach.head.to_wire(),
            head_cursor: reach.cursor(reach.head).encode(),
            retention: None,
        }))
    }
}

fn start(fields: &mut Fields, start: Option<&subscribe_request::Start>) -> Result<Start> {
    use subscribe_request::Start as Asked;
    Ok(match start {
        None | Some(Asked::Latest(())) => Start::Latest,
        Some(Asked::Earliest(())) => Start::Earliest,
        Some(Asked::After(cursor)) => Start::After(Cursor::decode("after", cursor)?),
        Some(Asked::At(time)) => Start::At(fields.time("at", Some(time)).unwrap_or_default()),
        Some(Asked::Snapshot(())) => Start::Snapshot,
    })
}

fn filter(fields: &mut Fields, asked: pb::EventFilter, access: &Access) -> Filter {
    fields.within("filter", |fields| {
        fields.count("kinds", asked.kinds.len(), 100);
        for (field, list) in [
            ("inbox_ids", &asked.inbox_ids),
            ("conversation_ids", &asked.conversation_ids),
            ("contact_ids", &asked.contact_ids),
        ] {
            fields.count(field, list.len(), LIST);
        }
        let mut kinds = Vec::new();
        for kind in &asked.kinds {
            match pb::EventKind::try_from(*kind) {
                Ok(known) if known != pb::EventKind::Unspecified => kinds.extend(i16::try_from(*kind)),
                _ => fields.refuse(
                    "kinds",
                    Rule::Unknown,
                    format!("must be kinds that the contract names, which {kind} is not"),
                ),
            }
        }
        let mut message_types = Vec::new();
        for number in &asked.message_types {
            match pb::MessageType::try_from(*number).ok().and_then(pb::MessageType::to_row) {
                Some(known) => message_types.push(known),
                None => fields.refuse(
                    "message_types",
                    Rule::Unknown,
                    format!("must be types that the contract names, which {number} is not"),
                ),
            }
        }
        Filter {
            kinds,
            inboxes: asked.inbox_ids.into_iter().map(InboxId).collect(),
            conversations: asked.conversation_ids.into_iter().map(ConversationId).collect(),
            contacts: asked.contact_ids.into_iter().map(ContactId).collect(),
            message_types,
            private: asked.private,
            scope: access.inboxes.clone(),
        }
    })
}

fn heartbeat(fields: &mut Fields, asked: Option<&WireDuration>) -> Option<Duration> {
    let asked = asked?;
    let heartbeat = Duration::try_from(*asked)
        .ok()
        .filter(|heartbeat| (1..=60).contains(&heartbeat.as_secs()) && heartbeat.as_secs_f64() <= 60.0);
    if heartbeat.is_none() {
        fields.refuse(
            "heartbeat",
            Rule::OutOfRange(if asked.seconds < 1 { 1 } else { 60 }),
            "must be between 1 and 60 seconds",
        );
    }
    heartbeat
}

/// Asks now and then whether the token is still good, and good for as much as when the stream was opened.
struct Lease {
    tokens: Tokens,
    identity: Identity,
    account: AccountId,
    access: Access,
    every: Duration,
    due: Instant,
}

impl Lease {
    /// Whether what the caller may see is the same as before.
    async fn renew(&mut self) -> Result<bool> {
        self.due = Instant::now() + self.every;
        match self.tokens.authenticate(&self.identity.secret).await {
            Ok(caller) => Ok(caller.access(self.account)?.inboxes == self.access.inboxes),
            // The database may be away for a while; the stream says so itself when it needs it.
            Err(Error::Unavailable { .. } | Error::Database(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// A subscription on its way to a client, until one of the ends that the contract names.
struct Following {
    subscription: Subscription,
    lease: Lease,
    drain: CancellationToken,
    stall_timeout: Duration,
    /// When the last frame was handed to the connection: it asks for the next one when there is room.
    handed_out: Option<Instant>,
    ended: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        if self.ended {
            return None;
        }
        if self.handed_out.is_some_and(|at| at.elapsed() > self.stall_timeout) {
            return Some(self.end(stalled()));
        }
        loop {
            if self.drain.is_cancelled() {
                return Some(self.rotate());
            }
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return Some(self.rotate()),
                () = tokio::time::sleep_until(self.lease.due) => match Box::pin(self.lease.renew()).await {
                    Ok(true) => {}
                    // The filter of what it may see is fixed for the life of a stream: the next one has the new one.
                    Ok(false) => return Some(self.rotate()),
                    Err(error) => return Some(self.end(error.into())),
                },
                next = self.subscription.next() => return Some(match next {
                    Ok(frame) => {
                        self.handed_out = Some(Instant::now());
                        Ok(frame)
                    }
                    Err(error) => self.end(error.into()),
                }),
            }
        }
    }

    fn end(&mut self, status: Status) -> Result<Frame, Status> {
        self.ended = true;
        Err(status)
    }

    fn rotate(&mut self) -> Result<Frame, Status> {
        // Spread over a second, so that a thousand clients do not come back at once.
        let retry_after = Duration::from_millis(rand::random_range(50..1000));
        let status = rotated(self.subscription.resume_at(), retry_after);
        self.end(status)
    }
}
