//! Our door: a file per gRPC service, and what stands before them.
//!
//! A handler is a few lines: caller; request to command, naming every bad field; the verb; rows to words of the wire.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parley_admission::rate_limit::AnonymousLimits;
use parley_domain::{
    Chat,
    auth::caller::Caller,
    write::{
        call::{Answer, Call, Key},
        idempotency::KeyOwner,
    },
};
use parley_eventlog::cursor::Cursor;
use parley_fault::Protection;
use parley_proto::{self as pb, description::cursor_of};
use parley_types::{
    error::{Error, Result, Rule},
    id::AccountId,
};
use prost::{Message, Name};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, codec::CompressionEncoding, metadata::MetadataValue, service::Routes};

use crate::status::OrStatus as _;
use fields::Fields;
use keyed::Keyed;
use trace::traceparent;

mod accounts;
mod agent_bots;
mod agents;
mod anonymous;
mod audit;
mod audit_events;
mod canned_responses;
mod client;
mod consume;
mod consumers;
mod contact_lists;
mod contact_notes;
mod contacts;
mod conversation_lists;
mod conversations;
mod custom_attribute_definitions;
mod drafts;
mod events;
mod fields;
mod files;
mod filters;
mod fit;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod fuzz;
mod inboxes;
mod keyed;
mod labels;
mod layers;
mod limits;
mod logins;
mod messages;
mod meter;
mod outcome;
mod own_contacts;
mod page;
mod participants;
mod policy;
mod presence;
mod presence_pace;
mod pubsub;
mod self_service;
mod send;
mod stall;
mod status;
mod streams;
mod teams;
mod tokenless;
mod tokens;
mod trace;

pub use anonymous::Authenticator;
pub use layers::{Gate, arrive};
pub use limits::Config as Limiting;
pub use status::{draining, no_memory, slow_message};
pub use tokenless::{TokenlessService, charge};

/// What both doors limit.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest that a unary call may take.
    pub deadline: Duration,
    /// The largest message that is taken.
    pub max_message_bytes: usize,
    /// How often an open stream asks whether its token is still good.
    pub recheck: Duration,
    /// How much may be asked for at once.
    pub limits: Limiting,
    /// What callers without a token may use.
    pub anonymous: Arc<AnonymousLimits>,
    /// Where browsers reach the front end: login links begin with it.
    pub base_url: String,
    /// After how long a stream shall be resumed, perhaps elsewhere; none: never.
    pub stream_age: Option<Duration>,
    /// How long events are kept.
    pub retention: Duration,
    /// How long a reader may take nothing while there is something to take.
    pub stall_timeout: Duration,
}

/// The services over the verbs.
#[derive(Clone, Debug)]
pub struct Api {
    chat: Chat,
    config: Config,
    limits: Arc<limits::Limits>,
    stalls: Arc<stall::Stalls>,
    /// Cancelled when streams shall end so that their clients resume elsewhere.
    drain: CancellationToken,
}

/// How clients may compress requests. Responses are not compressed: the libraries of gRPC advertise gzip by themselves, so what a client accepts
/// does not say what it wants, and compressing for each subscriber would cost the processor many times what it costs to send.
const GZIP: CompressionEncoding = CompressionEncoding::Gzip;

/// All services with their layers: what the gRPC listener serves, and what the gateway calls. And the task that ends idle streams, until
/// `drain`.
pub fn routes(chat: &Chat, config: &Config, drain: &CancellationToken) -> (Routes, impl Future<Output = ()> + Send + 'static) {
    let limits = Arc::new(limits::Limits::new(config.limits));
    let api = Api {
        chat: chat.clone(),
        config: config.clone(),
        limits: Arc::clone(&limits),
        stalls: Arc::new(stall::Stalls::new(config.stall_timeout)),
        drain: drain.clone(),
    };
    let watching = Arc::clone(&api.stalls).run(drain.clone());
    let max = config.max_message_bytes;
    let router = Routes::new(
        pb::contacts_service_server::ContactsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::conversations_service_server::ConversationsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::messages_service_server::MessagesServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::inboxes_service_server::InboxesServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::accounts_service_server::AccountsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::client_service_server::ClientServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::agent_bots_service_server::AgentBotsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::participants_service_server::ParticipantsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::presence_service_server::PresenceServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::labels_service_server::LabelsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::custom_attribute_definitions_service_server::CustomAttributeDefinitionsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::canned_responses_service_server::CannedResponsesServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::contact_notes_service_server::ContactNotesServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::files_service_server::FilesServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::consumers_service_server::ConsumersServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::logins_service_server::LoginsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::pubsub_service_server::PubsubServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::teams_service_server::TeamsServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::audit_service_server::AuditServiceServer::new(api.clone())
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::frames::events_service_server::EventsServiceServer::new(api)
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .into_axum_router()
    // Trace, auth and deadline, in this order: whom auth or a rate refuses is traced too. Only what is too much for all is not.
    .layer(Gate::new(
        Authenticator::new(chat.tokens.clone(), Arc::clone(&config.anonymous)),
        Arc::clone(&chat.events.hub),
        config.deadline,
        limits,
        chat.audit.clone(),
        chat.outage(),
    ));
    (Routes::from(router).prepare(), watching)
}

/// Who calls.
///
/// # Errors
/// Internal, if a service is served without its layers.
fn identity<R>(request: &Request<R>) -> Result<layers::Identity> {
    let identity = request.extensions().get::<layers::Identity>();
    identity
        .cloned()
        .ok_or_else(|| Error::Internal("a service was served without its layers".to_owned()))
}

fn caller<R>(request: &Request<R>) -> Result<Arc<Caller>> {
    identity(request).map(|identity| identity.caller)
}

/// A call that changes something. `respond` makes its answer, now and when the request comes again. A `request_id` that is no
/// UUID is noted among the bad fields.
///
/// # Errors
/// Internal, if a service is served without its layers.
fn change<R: Keyed, T: 'static, M: Message + 'static>(
    fields: &mut Fields,
    request: &Request<R>,
    account: AccountId,
    respond: fn(&T, Bytes) -> M,
) -> Result<Call<T>> {
    let identity = identity(request)?;
    identity.concerns(Some(account), request.get_ref().resource());
    let caller = identity.caller;
    Ok(change_as(fields, request, caller, account, respond))
}

/// As [`change`], for a caller whom the call itself names.
fn change_as<R: Keyed, T: 'static, M: Message + 'static>(
    fields: &mut Fields,
    request: &Request<R>,
    caller: Arc<Caller>,
    account: AccountId,
    respond: impl Fn(&T, Bytes) -> M + Send + Sync + 'static,
) -> Call<T> {
    let request_id = fields.request_id(request.get_ref().request_id());
    let key = request_id
        .filter(|_| parley_fault::is_on(Protection::IdempotencyKey))
        .map(|request_id| Key {
            request_id,
            owner: KeyOwner::of(&caller, account),
            fingerprint: request.get_ref().fingerprint(),
            encode: Box::new(move |value, cursor| respond(value, encode(cursor)).encode_to_vec()),
        });
    Call {
        caller,
        account,
        key,
        traceparent: traceparent(request),
    }
}

fn encode(cursor: Option<Cursor>) -> Bytes {
    cursor.map(Cursor::encode).unwrap_or_default()
}

/// The answer of a call that changed something. Its position is told in the metadata too, where whoever passes answers on finds it.
///
/// # Errors
/// Internal, if a kept answer cannot be read.
fn answered<T, M: Message + Name + Default>(answer: Answer<T>, respond: impl Fn(&T, Bytes) -> M) -> Result<Response<M>, Status> {
    let (message, cursor) = match answer {
        Answer::Fresh(value, cursor) => {
            let cursor = encode(cursor);
            (respond(&value, cursor.clone()), cursor)
        }
        Answer::Repeated(bytes) => {
            let message = M::decode(bytes.as_slice())
                .map_err(|error| Error::Internal(format!("a kept answer: {error}")))
                .or_status()?;
            let cursor = cursor_of(&message);
            (message, cursor)
        }
    };
    let mut response = Response::new(message);
    if !cursor.is_empty() {
        response
            .metadata_mut()
            .insert_bin("parley-cursor-bin", MetadataValue::from_bytes(&cursor));
    }
    Ok(response)
}

/// A message that must be in the request.
///
/// # Errors
/// [`Error::Invalid`].
fn required<T>(field: &str, message: Option<T>) -> Result<T> {
    message.ok_or_else(|| Error::invalid(field, Rule::Required, "must be given"))
}
