//! `EventsService`.

use std::time::Duration;

use futures_util::stream;
use parley_domain::auth::caller::{Access, ContactScope};
use parley_eventlog::{
    cursor::Cursor,
    filter::Filter,
    hub::Kind,
    subscription::{Start, Subscription},
};
use parley_proto::{self as pb, frame::Frame, frames::events_service_server::EventsService, subscribe_request};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, ContactId, ConversationId, InboxId},
};
use prost_types::Duration as WireDuration;
use tonic::{Request, Response, Status, Streaming};

use super::{
    api::Api,
    consume::{self, Frames},
    request::identity,
    streams::{LastCursor, Watch},
};
use crate::{
    meter,
    status::{OrStatus as _, ended_at, to_status},
    validation::fields::Fields,
};

/// Entries in a list of a filter.
const LIST: usize = 1000;

impl Api {
    async fn follow(&self, request: Request<pb::SubscribeRequest>) -> Result<Frames> {
        let account = AccountId(request.get_ref().account_id);
        let watch = Watch::over(self, &request, account)?;
        let asked = request.into_inner();
        let mut fields = Fields::default();
        let start = start(&mut fields, asked.start.as_ref())?;
        let filter = filter(&mut fields, asked.filter.unwrap_or_default(), watch.access());
        let heartbeat = heartbeat(&mut fields, asked.heartbeat.as_ref());
        fields.done()?;
        let subscription = self
            .chat
            .events
            .hub
            .subscribe(Kind::Subscribe, account, start, filter, heartbeat, asked.ephemeral)
            .await?;
        let last = LastCursor::default();
        last.set(subscription.resume_at());
        let following = Following {
            subscription,
            watch,
            last: last.clone(),
            ended: false,
        };
        let frames = stream::unfold(following, |mut following| async move {
            let item = following.next().await?;
            Some((item, following))
        });
        Ok(self.stalls.watch(Kind::Subscribe, last, frames))
    }
}

#[tonic::async_trait]
impl EventsService for Api {
    type SubscribeStream = Frames;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Result<Response<Frames>, Status> {
        let opened = self.follow(request).await.or_status();
        opened
            .map(Response::new)
            .inspect_err(|refused| meter::ended(Kind::Subscribe, refused))
    }

    type ConsumeStream = Frames;

    async fn consume(&self, request: Request<Streaming<pb::ConsumeRequest>>) -> Result<Response<Frames>, Status> {
        let opened = consume::open(self, request).await;
        opened
            .map(Response::new)
            .inspect_err(|refused| meter::ended(Kind::Consume, refused))
    }

    async fn get_log_info(&self, request: Request<pb::GetLogInfoRequest>) -> Result<Response<pb::GetLogInfoResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        identity(&request).or_status()?.caller.access(account).or_status()?;
        let reach = self.chat.events.log.reach(account).await.or_status()?;
        Ok(Response::new(pb::GetLogInfoResponse {
            epoch: format!("{:x}", reach.epoch),
            earliest_seq: reach.earliest.to_wire(),
            head_seq: reach.head.to_wire(),
            head_cursor: reach.head_cursor().encode(),
            retention: WireDuration::try_from(self.config.retention).ok(),
        }))
    }
}

pub(super) fn start(fields: &mut Fields, start: Option<&subscribe_request::Start>) -> Result<Start> {
    use subscribe_request::Start as Asked;
    Ok(match start {
        None | Some(Asked::Latest(())) => Start::Latest,
        Some(Asked::Earliest(())) => Start::Earliest,
        Some(Asked::After(cursor)) => Start::After(Cursor::decode("after", cursor)?),
        Some(Asked::At(time)) => Start::At(fields.time("at", Some(time)).unwrap_or_default()),
        Some(Asked::Snapshot(())) => Start::Snapshot,
    })
}

pub(super) fn filter(fields: &mut Fields, asked: pb::EventFilter, access: &Access) -> Filter {
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
            merges: false,
            message_types,
            private: asked.private,
            scope: access.inboxes.clone(),
            own_contacts: access.contact_inboxes().is_some(),
            inboxes_only: access.contacts == ContactScope::Conversations,
            shard: None,
        }
    })
}

pub(super) fn heartbeat(fields: &mut Fields, asked: Option<&WireDuration>) -> Option<Duration> {
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

/// A subscription on its way to a client, until one of the ends that the contract names.
struct Following {
    subscription: Subscription,
    watch: Watch,
    last: LastCursor,
    ended: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        if self.ended {
            return None;
        }
        tokio::select! {
            biased;
            end = self.watch.ended() => Some(self.end(end.status())),
            next = self.subscription.next() => Some(match next {
                Ok(frame) => {
                    self.last.set(self.subscription.resume_at());
                    Ok(frame)
                }
                Err(error) => self.end(to_status(error)),
            }),
        }
    }

    fn end(&mut self, status: Status) -> Result<Frame, Status> {
        self.ended = true;
        let status = ended_at(status, self.subscription.resume_at());
        meter::ended(Kind::Subscribe, &status);
        Err(status)
    }
}
