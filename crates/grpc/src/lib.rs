//! The gRPC API: a file per service, the middleware around them, and request validation.

use std::sync::Arc;

use parley_domain::Domain;
use parley_proto as pb;
use tokio_util::sync::CancellationToken;
use tonic::{codec::CompressionEncoding, service::Routes};

use middleware::limits::Limits;
use services::{
    accounts::AccountsApi, agent_bots::AgentBotsApi, audit_events::AuditApi, client::ClientApi, consumers::ConsumersApi,
    contact_notes::ContactNotesApi, contacts::ContactsApi, conversations::ConversationsApi, events::EventsApi, files::FilesApi,
    inboxes::InboxesApi, logins::LoginsApi, messages::MessagesApi, participants::ParticipantsApi, presence::PresenceApi, pubsub::PubsubApi,
    records::RecordsApi, service_context::ServiceContext, stall::StallMonitor, teams::TeamsApi,
};

mod config;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod fuzz;
mod meter;
mod middleware;
mod services;
mod status;
mod validation;

pub use config::Config;
pub use middleware::{
    authenticator::Authenticator,
    deadline::record_arrival,
    limits::LimitsConfig,
    tokenless::{TokenlessService, charge},
};
pub use status::{message_timeout, no_memory, shutdown_trailers};

/// The compression accepted in requests. Responses are never compressed: gRPC libraries advertise gzip by default, so
/// `grpc-accept-encoding` does not say what a client wants, and compressing for each subscriber would cost many times the CPU time of
/// sending.
const GZIP: CompressionEncoding = CompressionEncoding::Gzip;

/// Builds all services with their middleware. The gRPC listener serves these routes, and the REST gateway calls them in-process.
///
/// Also returns the task that ends stalled streams. It must be polled, and runs until `drain` is cancelled.
pub fn routes(domain: &Domain, config: &Config, drain: &CancellationToken) -> (Routes, impl Future<Output = ()> + Send + 'static) {
    let limits = Arc::new(Limits::new(config.limits));
    let context = &domain.context;
    let server = &Arc::new(ServiceContext {
        config: config.clone(),
        limits: Arc::clone(&limits),
        stalls: Arc::new(StallMonitor::new(config.stall_timeout)),
        events: context.events.clone(),
        tokens: context.tokens.clone(),
        drain: drain.clone(),
    });
    let watching = Arc::clone(&server.stalls).run(drain.clone());
    let max = config.max_message_bytes;
    let router = Routes::new(
        pb::contacts_service_server::ContactsServiceServer::new(ContactsApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::conversations_service_server::ConversationsServiceServer::new(ConversationsApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::messages_service_server::MessagesServiceServer::new(MessagesApi::new(domain, server))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::inboxes_service_server::InboxesServiceServer::new(InboxesApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::accounts_service_server::AccountsServiceServer::new(AccountsApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::client_service_server::ClientServiceServer::new(ClientApi::new(domain, server))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::agent_bots_service_server::AgentBotsServiceServer::new(AgentBotsApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::participants_service_server::ParticipantsServiceServer::new(ParticipantsApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::presence_service_server::PresenceServiceServer::new(PresenceApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::labels_service_server::LabelsServiceServer::new(RecordsApi(domain.labels.clone()))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::custom_attribute_definitions_service_server::CustomAttributeDefinitionsServiceServer::new(RecordsApi(
            domain.custom_attribute_definitions.clone(),
        ))
        .max_decoding_message_size(max)
        .accept_compressed(GZIP),
    )
    .add_service(
        pb::canned_responses_service_server::CannedResponsesServiceServer::new(RecordsApi(domain.canned_responses.clone()))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::contact_notes_service_server::ContactNotesServiceServer::new(ContactNotesApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::files_service_server::FilesServiceServer::new(FilesApi::new(domain, server))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::consumers_service_server::ConsumersServiceServer::new(ConsumersApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::logins_service_server::LoginsServiceServer::new(LoginsApi::new(domain, server))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::pubsub_service_server::PubsubServiceServer::new(PubsubApi::new(domain, server))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::teams_service_server::TeamsServiceServer::new(TeamsApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::audit_service_server::AuditServiceServer::new(AuditApi::new(domain))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .add_service(
        pb::frames::events_service_server::EventsServiceServer::new(EventsApi::new(server))
            .max_decoding_message_size(max)
            .accept_compressed(GZIP),
    )
    .into_axum_router();
    let authenticator = Authenticator::new(context.tokens.clone(), Arc::clone(&config.anonymous));
    let router = middleware::stack(router, context, authenticator, limits, config.deadline);
    (Routes::from(router).prepare(), watching)
}
