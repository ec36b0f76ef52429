//! Implements `EventsService`, through which clients subscribe to the event log.

use std::sync::Arc;

use futures_util::stream;
use parley_eventlog::{broadcaster::StreamKind, subscription::Subscription};
use parley_proto::{self as pb, frame::Frame, frames::events_service_server::EventsService};
use parley_types::{error::Result, id::AccountId};
use prost_types::Duration as WireDuration;
use tonic::{Request, Response, Status, Streaming};

use super::{
    consume::{self, Frames},
    request::identity,
    service_context::ServiceContext,
    stream_position::StreamPosition,
    streams::StreamGuard,
};
use crate::{
    meter,
    status::{OrStatus as _, ended_at, to_status},
    validation::{
        fields::Validator,
        subscriptions::{filter, heartbeat, start},
    },
};

/// Implements `EventsService`.
#[derive(Clone, Debug)]
pub struct EventsApi {
    server: Arc<ServiceContext>,
}

impl EventsApi {
    pub fn new(server: &Arc<ServiceContext>) -> Self {
        Self {
            server: Arc::clone(server),
        }
    }

    async fn follow(&self, request: Request<pb::SubscribeRequest>) -> Result<Frames> {
        let account = AccountId(request.get_ref().account_id);
        let guard = StreamGuard::over(&self.server, &request, account)?;
        let req = request.into_inner();
        let mut fields = Validator::default();
        let start = start(&mut fields, req.start.as_ref())?;
        let filter = filter(&mut fields, req.filter.unwrap_or_default(), guard.access());
        let heartbeat = heartbeat(&mut fields, req.heartbeat.as_ref());
        fields.finish()?;
        let subscription = self
            .server
            .events
            .broadcaster
            .subscribe(StreamKind::Subscribe, account, start, filter, heartbeat, req.ephemeral)
            .await?;
        let position = StreamPosition::default();
        position.set(subscription.resume_at());
        let event_subscription = EventSubscription {
            subscription,
            guard,
            position: position.clone(),
            ended: false,
        };
        let frames = stream::unfold(event_subscription, |mut event_subscription| async move {
            let item = event_subscription.next().await?;
            Some((item, event_subscription))
        });
        Ok(self.server.stalls.watch(StreamKind::Subscribe, position, frames))
    }
}

#[tonic::async_trait]
impl EventsService for EventsApi {
    type SubscribeStream = Frames;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Result<Response<Frames>, Status> {
        let opened = self.follow(request).await.or_status();
        opened
            .map(Response::new)
            .inspect_err(|refused| meter::ended(StreamKind::Subscribe, refused))
    }

    type ConsumeStream = Frames;

    async fn consume(&self, request: Request<Streaming<pb::ConsumeRequest>>) -> Result<Response<Frames>, Status> {
        let opened = consume::open(&self.server, request).await;
        opened
            .map(Response::new)
            .inspect_err(|refused| meter::ended(StreamKind::Consume, refused))
    }

    async fn get_log_info(&self, request: Request<pb::GetLogInfoRequest>) -> Result<Response<pb::GetLogInfoResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        identity(&request).or_status()?.caller.access(account).or_status()?;
        let range = self.server.events.log.range(account).await.or_status()?;
        Ok(Response::new(pb::GetLogInfoResponse {
            epoch: format!("{:x}", range.epoch),
            earliest_seq: range.earliest.to_wire(),
            head_seq: range.head.to_wire(),
            head_cursor: range.head_cursor().encode(),
            retention: WireDuration::try_from(self.server.config.retention).ok(),
        }))
    }
}

/// An open subscription, which ends for one of the reasons that the contract lists.
struct EventSubscription {
    subscription: Subscription,
    guard: StreamGuard,
    position: StreamPosition,
    ended: bool,
}

impl EventSubscription {
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        if self.ended {
            return None;
        }
        tokio::select! {
            biased;
            end = self.guard.ended() => Some(self.end(end.status())),
            next = self.subscription.next() => Some(match next {
                Ok(frame) => {
                    self.position.set(self.subscription.resume_at());
                    Ok(frame)
                }
                Err(error) => self.end(to_status(error)),
            }),
        }
    }

    fn end(&mut self, status: Status) -> Result<Frame, Status> {
        self.ended = true;
        let status = ended_at(status, self.subscription.resume_at());
        meter::ended(StreamKind::Subscribe, &status);
        Err(status)
    }
}
