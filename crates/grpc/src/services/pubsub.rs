//! Implements `PubsubService`, through which the holders of pubsub tokens receive events.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use parley_admission::rate_limit::{Permit, Resource};
use parley_domain::{
    Domain,
    auth::pubsub::{Present, Pubsub, PubsubSubscriber},
    people::accounts::Accounts,
};
use parley_eventlog::{
    broadcaster::StreamKind,
    conversion::Visitor,
    filter::Filter,
    mark::Mark,
    subscription::{Start, Subscription},
};
use parley_fault::Protection;
use parley_proto::{self as pb, MessageType, event::Resource as Subject, pubsub_service_server::PubsubService};
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ContactId, ContactInboxId, ConversationId, Seq, UserId},
};
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};

use super::{
    logins::reject_request_id, presence_throttle::PresenceThrottle, self_service::cache_keys_message, service_context::ServiceContext,
    stall::WatchedStream, stream_position::StreamPosition, streams::rotation_time,
};
use crate::{
    meter,
    middleware::{
        authenticator::Payer,
        limits::{OpenStreamGuard, StreamOwner},
    },
    status::{OrStatus as _, ended_at, rotated, to_status},
    validation::fields::{Validator, required},
};

/// The response stream of a subscription.
type PubsubStream = WatchedStream<pb::SubscribePubsubResponse>;

/// The event kinds that contact sessions receive.
const SESSION_EVENT_KINDS: [pb::EventKind; 5] = [
    pb::EventKind::MessageCreated,
    pb::EventKind::MessageUpdated,
    pb::EventKind::ConversationCreated,
    pb::EventKind::ConversationUpdated,
    pb::EventKind::ConversationStatusChanged,
];

/// Implements `PubsubService`.
#[derive(Clone, Debug)]
pub struct PubsubApi {
    pubsub: Pubsub,
    accounts: Accounts,
    server: Arc<ServiceContext>,
}

impl PubsubApi {
    pub fn new(domain: &Domain, server: &Arc<ServiceContext>) -> Self {
        Self {
            pubsub: domain.pubsub.clone(),
            accounts: domain.accounts.clone(),
            server: Arc::clone(server),
        }
    }

    async fn subscriber(&self, key: &pb::PubsubKey) -> Result<PubsubSubscriber> {
        let (account, user) = (key.account_id.map(AccountId), key.user_id.map(UserId));
        self.pubsub.subscriber(&key.pubsub_token, account, user).await
    }

    async fn open_pubsub_stream(&self, request: Request<pb::SubscribePubsubRequest>) -> Result<PubsubStream> {
        let by_address = Payer::of(&request).open(&self.server.config.anonymous, Resource::Stream)?;
        let key = required("key", request.into_inner().key)?;
        let subscriber = self.subscriber(&key).await?;
        let owner = match (subscriber.session(), key.user_id) {
            (Some(session), _) => StreamOwner::Session(session),
            (None, user) => StreamOwner::User(UserId(user.unwrap_or_default())),
        };
        let open = self.server.limits.open_stream(owner)?;
        let filter = filter(&subscriber)?;
        let broadcaster = &self.server.events.broadcaster;
        let subscription = broadcaster
            .subscribe(StreamKind::Pubsub, subscriber.account, Start::Latest, filter, None, true)
            .await?;
        let position = StreamPosition::default();
        position.set(subscription.resume_at());
        let open_subscription = OpenSubscription {
            position: position.clone(),
            due: Instant::now() + self.server.config.recheck,
            rotation_time: rotation_time(self.server.config.stream_age),
            _counted: (open, by_address),
            api: self.clone(),
            subscription,
            key,
            subscriber,
            contact_differs: false,
            ended: false,
            throttle: PresenceThrottle::default(),
        };
        let responses = stream::unfold(open_subscription, |mut open_subscription| async move {
            let item = open_subscription.next().await?;
            Some((item, open_subscription))
        });
        Ok(self.server.stalls.watch(StreamKind::Pubsub, position, responses))
    }
}

#[tonic::async_trait]
impl PubsubService for PubsubApi {
    type SubscribePubsubStream = PubsubStream;

    async fn subscribe_pubsub(
        &self,
        request: Request<pb::SubscribePubsubRequest>,
    ) -> Result<Response<Self::SubscribePubsubStream>, Status> {
        let opened = self.open_pubsub_stream(request).await.or_status();
        opened
            .map(Response::new)
            .inspect_err(|refused| meter::ended(StreamKind::Pubsub, refused))
    }

    async fn rotate_pubsub_token(
        &self,
        request: Request<pb::RotatePubsubTokenRequest>,
    ) -> Result<Response<pb::RotatePubsubTokenResponse>, Status> {
        let req = request.into_inner();
        let mut fields = Validator::default();
        reject_request_id(&mut fields, &req.request_id);
        fields.finish().or_status()?;
        let subscriber = self.subscriber(&required("key", req.key).or_status()?).await.or_status()?;
        Ok(Response::new(pb::RotatePubsubTokenResponse {
            pubsub_token: self.pubsub.rotate_token(&subscriber).await.or_status()?,
            cursor: bytes::Bytes::new(),
        }))
    }

    async fn report_pubsub_presence(
        &self,
        request: Request<pb::ReportPubsubPresenceRequest>,
    ) -> Result<Response<pb::ReportPubsubPresenceResponse>, Status> {
        let req = request.into_inner();
        let mut fields = Validator::default();
        fields.request_id(&req.request_id);
        fields.finish().or_status()?;
        let subscriber = self.subscriber(&required("key", req.key).or_status()?).await.or_status()?;
        let present = self.pubsub.report_presence(&subscriber).await.or_status()?;
        let cursor = present.head.encode();
        let pb::PubsubPresence { users, contacts } = presence_message(present);
        Ok(Response::new(pb::ReportPubsubPresenceResponse {
            cursor,
            account_id: subscriber.account.0,
            users,
            contacts,
        }))
    }
}

fn presence_message(present: Present) -> pb::PubsubPresence {
    let online = "online".to_owned();
    pb::PubsubPresence {
        users: present
            .users
            .into_iter()
            .map(|(user, as_what)| (user.0, as_what.name().to_owned()))
            .collect(),
        contacts: present.contacts.into_iter().map(|contact| (contact.0, online.clone())).collect(),
    }
}

/// The state of an open stream that was subscribed with a pubsub token.
struct OpenSubscription {
    api: PubsubApi,
    subscription: Subscription,
    key: pb::PubsubKey,
    subscriber: PubsubSubscriber,
    /// When the token is next looked up, to check that it is still valid and has the same scope.
    due: Instant,
    /// When the stream reaches its maximum age.
    rotation_time: Option<Instant>,
    _counted: (OpenStreamGuard, Permit),
    /// The position in the log up to which everything has been sent.
    position: StreamPosition,
    /// Whether the last lookup found that the session now belongs to a different contact than the one that the filter selects.
    contact_differs: bool,
    ended: bool,
    throttle: PresenceThrottle,
}

impl OpenSubscription {
    async fn next(&mut self) -> Option<Result<pb::SubscribePubsubResponse, Status>> {
        if self.ended {
            return None;
        }
        loop {
            let drain = self.api.server.drain.clone();
            let wake_at = self.rotation_time.map_or(self.due, |at| at.min(self.due));
            tokio::select! {
                biased;
                () = drain.cancelled() => return Some(Err(self.rotate())),
                () = sleep_until(wake_at) => {
                    if self.rotation_time.is_some_and(|at| Instant::now() >= at) {
                        return Some(Err(self.rotate()));
                    }
                    if Instant::now() < self.due {
                        continue;
                    }
                    self.due = Instant::now() + self.api.server.config.recheck;
                    match self.api.subscriber(&self.key).await {
                        Ok(subscriber) if scope(&subscriber) == scope(&self.subscriber) && subscriber.contact() == self.subscriber.contact() => {
                            (self.subscriber, self.contact_differs) = (subscriber, false);
                        }
                        // The contact was merged into another one. The merge event has not been sent yet; the filter changes when it
                        // arrives.
                        Ok(subscriber)
                            if scope(&subscriber) == scope(&self.subscriber) && !self.contact_differs && parley_fault::is_on(Protection::FollowedMerges) =>
                        {
                            self.contact_differs = true;
                        }
                        // The scope of the filter is fixed for the lifetime of a stream. End the stream, so that the client reconnects with
                        // the new scope.
                        Ok(_) => return Some(Err(self.end(rotated(None, Duration::ZERO)))),
                        Err(Error::Unavailable { .. } | Error::Database(_)) => {}
                        Err(error) => return Some(Err(self.end(to_status(error)))),
                    }
                }
                () = self.throttle.due() => {
                    if let Some(response) = self.presence().await {
                        return Some(Ok(response));
                    }
                }
                next = self.subscription.next() => match next {
                    Ok(frame) => {
                        let decoded = match pb::SubscribeResponse::decode(frame.concat()) {
                            Ok(decoded) => decoded,
                            Err(error) => {
                                tracing::error!(account_id = self.subscriber.account.0, %error, "failed to decode a frame of events; ending the stream");
                                let error = Error::Internal("an event of the log cannot be decoded".to_owned());
                                return Some(Err(self.end(to_status(error))));
                            }
                        };
                        let mut response = pb::SubscribePubsubResponse {
                            events: decoded.events,
                            ephemeral: decoded.ephemeral,
                            bookmark: decoded.bookmark,
                            cache_keys: None,
                            presence: None,
                        };
                        if self.subscriber.session().is_none() {
                            self.throttle.observe(&response);
                        }
                        if let Some((into, at, mark)) = self.find_merge(&response)
                            && let Err(error) = self.follow_merge(&mut response, into, (at, mark)).await
                        {
                            return Some(Err(self.end(error)));
                        }
                        self.filter_for_session(&mut response);
                        self.show(&mut response);
                        self.filter_ephemeral(&mut response).await;
                        if let Err(error) = self.add_cache_keys(&mut response).await {
                            return Some(Err(self.end(error)));
                        }
                        self.position.set(self.subscription.resume_at());
                        if response != pb::SubscribePubsubResponse::default() {
                            return Some(Ok(response));
                        }
                    }
                    Err(error) => return Some(Err(self.end(to_status(error)))),
                },
            }
        }
    }

    /// Finds a merge in the response that moves the session to another contact. Returns that contact, and the event's seq and mark.
    fn find_merge(&self, response: &pb::SubscribePubsubResponse) -> Option<(ContactId, Seq, Option<Mark>)> {
        let contact = self
            .subscriber
            .contact()
            .filter(|_| parley_fault::is_on(Protection::FollowedMerges))?;
        let events = response.events.iter().filter_map(|delivery| delivery.event.as_ref());
        let mut merges = events.filter(|event| event.kind() == pb::EventKind::ContactMerged);
        let merge = merges.find(|event| merged_contact(event) == Some(contact))?;
        let Some(Subject::Contact(about)) = &merge.resource else {
            return None;
        };
        let mark = Mark::of_event_id(&merge.event_id);
        Some((ContactId(about.contact.as_ref()?.id), Seq::from_wire(merge.seq), mark))
    }

    /// Continues with the events of the contact that the session was merged into, directly after the merge.
    ///
    /// # Errors
    /// Returns the status that ends the stream if the session no longer exists or cannot be looked up at the moment.
    async fn follow_merge(
        &mut self,
        response: &mut pb::SubscribePubsubResponse,
        into: ContactId,
        (at, mark): (Seq, Option<Mark>),
    ) -> Result<(), Status> {
        // Read the session's access again before any event of the other contact is sent, because the access depends on whether the session
        // is verified. The other contact may have been merged once more in the meantime; each merge is followed when its event arrives.
        let found = self.api.subscriber(&self.key).await.map(|subscriber| subscriber.as_contact(into));
        let found = found.and_then(|subscriber| filter(&subscriber).map(|filter| (subscriber, filter)));
        let (subscriber, filter) = match found {
            Ok(found) => found,
            Err(Error::Unavailable { .. } | Error::Database(_)) => return Err(rotated(None, Duration::ZERO)),
            Err(error) => return Err(to_status(error)),
        };
        self.subscriber = subscriber;
        self.subscription.change_filter(filter, at, mark);
        response
            .events
            .retain(|delivery| delivery.event.as_ref().is_some_and(|event| event.seq <= at.to_wire()));
        Ok(())
    }

    /// Removes events and messages that a contact session must not receive: events of other sessions, private messages, and activity
    /// messages.
    fn filter_for_session(&self, response: &mut pb::SubscribePubsubResponse) {
        if self.subscriber.session().is_none() {
            return;
        }
        response.events.retain(|delivery| {
            let resource = delivery.event.as_ref().and_then(|event| event.resource.as_ref());
            let conversation = match resource {
                Some(Subject::Message(decoded)) => {
                    let message = decoded.message.as_ref();
                    let shown = message.is_some_and(|message| !message.private && message.r#type() != MessageType::Activity);
                    decoded.conversation.as_ref().filter(|_| shown)
                }
                Some(Subject::Conversation(decoded)) => decoded.conversation.as_ref(),
                _ => None,
            };
            let session = conversation.and_then(|conversation| conversation.contact_inbox.as_ref());
            session.is_some_and(|session| {
                let (id, contact) = (ContactInboxId(session.id), ContactId(session.contact_id));
                self.subscriber.receives(id, contact, session.hmac_verified)
            })
        });
    }

    /// Converts events to the representation that contact sessions also receive from the client API.
    fn show(&self, response: &mut pb::SubscribePubsubResponse) {
        let Some(session) = self.subscriber.session_row() else { return };
        let visitor = Visitor(session);
        response.events.retain_mut(|delivery| {
            delivery.event = delivery.event.take().and_then(|event| visitor.event(event));
            delivery.event.is_some()
        });
        let ephemeral = std::mem::take(&mut response.ephemeral);
        response.ephemeral = ephemeral.into_iter().map(|event| visitor.ephemeral(event)).collect();
    }

    /// Removes typing events in conversations that the subscriber cannot access, typing events for private notes, and the subscriber's own
    /// typing events.
    async fn filter_ephemeral(&self, response: &mut pb::SubscribePubsubResponse) {
        // Events for a contact session identify the contact by the id that the session knows.
        let contact = self.subscriber.contact().unwrap_or_default().0;
        let own = match (self.subscriber.session_row(), self.key.user_id) {
            (Some(session), _) => (pb::ActorType::Contact, Visitor(session).contact_id(contact)),
            (None, user) => (pb::ActorType::User, user.unwrap_or_default()),
        };
        let mut kept = Vec::new();
        for event in std::mem::take(&mut response.ephemeral) {
            let by_self = event.actor.as_ref().is_some_and(|actor| (actor.r#type(), actor.id) == own);
            let hidden = self.subscriber.contact().is_some() && event.is_private;
            let conversation = ConversationId(event.conversation_id.unwrap_or_default());
            // Drop the event if the lookup fails: delivery of ephemeral events is best effort by contract.
            if !by_self && !hidden && self.api.pubsub.reaches(&self.subscriber, conversation).await.unwrap_or_default() {
                kept.push(event);
            }
        }
        response.ephemeral = kept;
    }

    /// Returns the current presence list, or `None` if it cannot be read: presence is best effort by contract, and the client requests the
    /// list again with its next presence report.
    async fn presence(&mut self) -> Option<pb::SubscribePubsubResponse> {
        self.throttle.sent();
        let present = self.api.pubsub.list_present(&self.subscriber).await.ok()?;
        Some(pb::SubscribePubsubResponse {
            presence: Some(presence_message(present)),
            ..pb::SubscribePubsubResponse::default()
        })
    }

    /// Adds the cache keys to a response that contains events about labels, teams or inboxes. The keys are read for each subscriber,
    /// because they depend on its access. If reading them fails temporarily, the events are sent without keys, and the stream ends shortly
    /// afterwards, so that the client reconnects and reads the lists again. A random delay before the stream ends spreads out the
    /// reconnects.
    ///
    /// # Errors
    /// Returns the status that ends the stream if the caller has lost access.
    async fn add_cache_keys(&mut self, response: &mut pb::SubscribePubsubResponse) -> Result<(), Status> {
        let mut resources = response
            .events
            .iter()
            .filter_map(|delivery| delivery.event.as_ref()?.resource.as_ref());
        let is_listed = |resource: &Subject| matches!(resource, Subject::Label(_) | Subject::Team(_) | Subject::Inbox(_));
        if self.subscriber.session().is_some() || !resources.any(is_listed) {
            return Ok(());
        }
        match self.api.accounts.cache_keys(&self.subscriber.caller, self.subscriber.account).await {
            Ok(keys) => response.cache_keys = Some(cache_keys_message(keys)),
            Err(Error::Unavailable { .. } | Error::Database(_)) => {
                let soon = Instant::now() + Duration::from_millis(rand::random_range(50..1000));
                self.rotation_time = Some(self.rotation_time.map_or(soon, |at| at.min(soon)));
            }
            Err(error) => return Err(to_status(error)),
        }
        Ok(())
    }

    fn rotate(&mut self) -> Status {
        let after = Duration::from_millis(rand::random_range(50..1000));
        self.end(rotated(None, after))
    }

    fn end(&mut self, status: Status) -> Status {
        self.ended = true;
        // Report the position up to which everything has been sent. Later events may have been read but not sent.
        let status = ended_at(status, self.position.get());
        meter::ended(StreamKind::Pubsub, &status);
        status
    }
}

/// Returns the filter for the events that the holder of a token may receive.
fn filter(subscriber: &PubsubSubscriber) -> Result<Filter> {
    let scope = subscriber.caller.access(subscriber.account)?.inboxes.clone();
    let Some(contact) = subscriber.contact() else {
        return Ok(Filter {
            scope,
            ..Filter::default()
        });
    };
    let follows = parley_fault::is_on(Protection::FollowedMerges);
    let merged = follows.then_some(pb::EventKind::ContactMerged);
    let kinds = SESSION_EVENT_KINDS.into_iter().chain(merged);
    Ok(Filter {
        kinds: kinds.filter_map(|kind| i16::try_from(i32::from(kind)).ok()).collect(),
        contacts: vec![contact],
        merges: follows,
        scope,
        ..Filter::default()
    })
}

/// Returns the contact that was merged into another contact, as named in the merge event.
fn merged_contact(event: &pb::Event) -> Option<ContactId> {
    let change = event.changes.iter().find(|change| change.field == "merged_contact_id")?;
    if let Some(pb::exact_value::Kind::Integer(id)) = change.exact_after.as_ref().and_then(|value| value.kind.as_ref()) {
        return Some(ContactId(*id));
    }
    // Replicas of the previous release write the id only to `after`, not to `exact_after`.
    match change.after.as_ref()?.kind.as_ref()? {
        // Ids start at 1 and stay far below the smallest integer that a double cannot represent exactly.
        #[allow(clippy::cast_possible_truncation)]
        prost_types::value::Kind::NumberValue(id) => Some(ContactId(*id as i64)),
        _ => None,
    }
}

fn scope(subscriber: &PubsubSubscriber) -> Option<&Vec<parley_types::id::InboxId>> {
    subscriber
        .caller
        .access(subscriber.account)
        .ok()
        .and_then(|access| access.inboxes.as_ref())
}
