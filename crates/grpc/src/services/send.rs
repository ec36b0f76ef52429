//! Implements `SendMessages`, which takes a stream of messages and returns a stream of their results in the same order.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use parley_domain::{
    auth::caller::Caller,
    contacts::sessions::Sessions,
    messages::{Created, Messages},
    write::{
        call::{Answer, Call, IdempotencyKey},
        key_owner::KeyOwner,
    },
};
use parley_eventlog::{
    broadcaster::{StreamKind, StreamPermit},
    cursor::Cursor,
};
use parley_proto as pb;
use parley_types::{
    error::{Error, Result},
    id::{AccountId, ConversationId},
};
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Status, Streaming};

use super::{
    idempotency::fingerprint,
    request::caller,
    response::{created, encode},
    restrict_contacts::restrict_contacts,
    service_context::ServiceContext,
    stall::WatchedStream,
    stream_position::StreamPosition,
};
use crate::{
    middleware::{
        call_span::traceparent,
        limits::{OpenStreamGuard, StreamOwner},
    },
    status::{deadline_exceeded, to_status},
    validation::{
        drafts,
        fields::{Validator, required},
    },
};

/// Maximum number of messages in flight per stream. While a stream has this many, it is not read, which blocks the sender.
const MAX_IN_FLIGHT: usize = 512;

/// Maximum number of results in one response.
const MAX_BATCHED_RESULTS: usize = 256;

/// The response stream of a `SendMessages` call.
pub type SendResults = WatchedStream<pb::SendMessagesResponse>;

/// The dependencies of a `SendMessages` stream.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The service that stores the messages.
    pub messages: Messages,
    /// Finds the contacts whose data the caller may only see in part.
    pub sessions: Sessions,
    /// The limits, the configuration and the drain signal.
    pub server: Arc<ServiceContext>,
}

struct SendStream {
    sender: Sender,
    caller: Arc<Caller>,
    /// The trace context of the stream, which all its messages share.
    traceparent: String,
    requests: Streaming<pb::SendMessagesRequest>,
    /// The pending results, in the order of their messages.
    pending: VecDeque<PendingResult>,
    next_index: u64,
    /// Set when the client has closed its side, or when a request could not be read.
    end: Option<Result<(), Status>>,
    _counted: (StreamPermit, OpenStreamGuard),
}

/// The pending result of one message.
struct PendingResult {
    index: u64,
    /// When waiting for the result ends. Results are returned in order, so the first pending result has the earliest deadline.
    deadline: Instant,
    /// Whether the content is a template, which is rendered before the message is queued. Until the message is queued, no later message may
    /// be queued.
    is_template: bool,
    answer: BoxFuture<'static, pb::SendResult>,
}

impl PendingResult {
    /// Waits for the result of the message or for its deadline.
    async fn take(&mut self) -> pb::SendResult {
        tokio::select! {
            biased;
            result = &mut self.answer => result,
            () = sleep_until(self.deadline) => error_result(self.index, &deadline_exceeded()),
        }
    }
}

/// Returns one result per message, in order. Each message has the deadline that a unary call would have. Results that are ready are sent
/// together, without waiting for further results.
///
/// # Errors
/// Returns [`Error::TooManyStreams`] if the token has too many streams open, [`Error::Busy`] if too many streams are open in total, and
/// [`Error::Internal`] if the service runs without its middleware.
pub fn open(sender: Sender, request: Request<Streaming<pb::SendMessagesRequest>>) -> Result<SendResults> {
    let caller = caller(&request)?;
    let permit = sender.server.limits.open_stream(StreamOwner::Token(caller.token))?;
    let stalls = Arc::clone(&sender.server.stalls);
    let send_stream = SendStream {
        _counted: (sender.server.events.broadcaster.acquire_permit(StreamKind::SendMessages)?, permit),
        sender,
        caller,
        traceparent: traceparent(&request),
        requests: request.into_inner(),
        pending: VecDeque::new(),
        next_index: 0,
        end: None,
    };
    let results = stream::unfold(send_stream, |mut send_stream| async move {
        let item = send_stream.next().await?;
        Some((item, send_stream))
    });
    Ok(stalls.watch(StreamKind::SendMessages, StreamPosition::default(), results))
}

impl SendStream {
    async fn next(&mut self) -> Option<Result<pb::SendMessagesResponse, Status>> {
        loop {
            if self.pending.is_empty() {
                match self.end.take() {
                    Some(Ok(())) => {
                        self.end = Some(Ok(()));
                        return None;
                    }
                    Some(Err(status)) => {
                        self.end = Some(Ok(()));
                        return Some(Err(status));
                    }
                    None => {}
                }
            }
            let in_order = self.pending.back().is_none_or(|last| !last.is_template);
            if self.end.is_none() && self.sender.server.drain.is_cancelled() {
                self.end = Some(Err(shutting_down()));
                continue;
            }
            let room = self.end.is_none() && self.pending.len() < MAX_IN_FLIGHT && in_order;
            let first = async {
                match self.pending.front_mut() {
                    Some(first) => first.take().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Prefer requests over results: the more messages are in flight, the larger the group commits.
                biased;
                () = self.sender.server.drain.cancelled(), if self.end.is_none() => {}
                request = self.requests.next(), if room => self.take(request),
                result = first => {
                    self.pending.pop_front();
                    return Some(Ok(self.with_ready(result)));
                }
            }
        }
    }

    fn take(&mut self, request: Option<Result<pb::SendMessagesRequest, Status>>) {
        match request {
            Some(Ok(request)) => {
                let index = self.next_index;
                self.next_index += 1;
                let (caller, traceparent) = (Arc::clone(&self.caller), self.traceparent.clone());
                let is_template = drafts::is_template(&request);
                let mut answer = send(self.sender.clone(), caller, traceparent, index, request).boxed();
                // Poll once now: the first poll queues the message in its writer shard, so messages are queued in the order of the stream.
                if let Some(result) = (&mut answer).now_or_never() {
                    answer = std::future::ready(result).boxed();
                }
                self.pending.push_back(PendingResult {
                    index,
                    deadline: Instant::now() + self.sender.server.config.deadline,
                    is_template,
                    answer,
                });
            }
            Some(Err(status)) => self.end = Some(Err(status)),
            None => self.end = Some(Ok(())),
        }
    }

    fn with_ready(&mut self, first: pb::SendResult) -> pb::SendMessagesResponse {
        let mut results = vec![first];
        while results.len() < MAX_BATCHED_RESULTS
            && let Some(next) = self.pending.front_mut()
            && let Some(result) = next.take().now_or_never()
        {
            self.pending.pop_front();
            results.push(result);
        }
        pb::SendMessagesResponse { results }
    }
}

async fn send(sender: Sender, caller: Arc<Caller>, traceparent: String, index: u64, request: pb::SendMessagesRequest) -> pb::SendResult {
    // Each message is charged to the caller's rate limit like a unary call.
    if let Err(limited) = sender.server.limits.charge(caller.token) {
        return error_result(index, &to_status(limited.0));
    }
    let account = AccountId(request.account_id);
    let mut answer = match store(&sender.messages, Arc::clone(&caller), traceparent, request).await {
        Ok(Answer::Fresh(messages, cursor)) => created(&messages, encode(cursor)),
        Ok(Answer::Replayed(bytes)) => match pb::CreateMessageResponse::decode(bytes.as_slice()) {
            Ok(kept) => kept,
            Err(error) => return error_result(index, &Status::internal(error.to_string())),
        },
        Err(error) => return error_result(index, &to_status(error)),
    };
    match restrict_contacts(&sender.sessions, &caller, account, answer.message.iter_mut()).await {
        Ok(()) => result(index, &answer),
        Err(error) => error_result(index, &to_status(error)),
    }
}

async fn store(messages: &Messages, caller: Arc<Caller>, traceparent: String, request: pb::SendMessagesRequest) -> Result<Answer<Created>> {
    let account = AccountId(request.account_id);
    caller.write_access(account)?;
    let mut fields = Validator::default();
    let key = fields.request_id(&request.request_id).map(|request_id| IdempotencyKey {
        request_id,
        owner: KeyOwner::of(&caller, account),
        fingerprint: fingerprint(&request),
        encode: Box::new(|messages: &Created, cursor: Option<Cursor>| created(messages, encode(cursor)).encode_to_vec()),
    });
    let conversation = ConversationId(fields.id("conversation_id", request.conversation_id));
    let draft = required("message", request.message)?;
    let new = fields.within("message", |fields| drafts::read(fields, draft));
    fields.finish()?;
    let call = Call {
        caller,
        account,
        key,
        traceparent,
    };
    messages.create(call, vec![(conversation, new)]).await
}

fn result(index: u64, made: &pb::CreateMessageResponse) -> pb::SendResult {
    let message = made.message.clone().unwrap_or_default();
    pb::SendResult {
        index,
        message_id: message.id,
        number: message.number,
        created_at: message.created_at,
        cursor: made.cursor.clone(),
        error: None,
    }
}

/// Returns the status of a stream that ends because of shutdown. The results of accepted messages are sent before this status.
fn shutting_down() -> Status {
    let error = Error::Unavailable {
        reason: "the server is shutting down; resend the messages that have no result",
        retry_after: Duration::from_millis(500),
    };
    to_status(error)
}

fn error_result(index: u64, status: &Status) -> pb::SendResult {
    // The status details also contain the code and the message.
    let decoded = tonic_types::Status::decode(status.details()).ok();
    let error = decoded.unwrap_or_else(|| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    });
    pb::SendResult {
        index,
        error: Some(error),
        ..pb::SendResult::default()
    }
}
