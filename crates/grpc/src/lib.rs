//! The gRPC API: one file per service, the middleware around the services, and request validation.

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
    records, service_context::ServiceContext, stall::StallMonitor, teams::TeamsApi,
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
    macro_rules! server {
        ($($server:ident)::+, $api:expr $(,)?) => {
            pb::$($server)::+::new($api).max_decoding_message_size(max).accept_compressed(GZIP)
        };
    }
    let router = Routes::new(server!(contacts_service_server::ContactsServiceServer, ContactsApi::new(domain)))
        .add_service(server!(
            conversations_service_server::ConversationsServiceServer,
            ConversationsApi::new(domain)
        ))
        .add_service(server!(
            messages_service_server::MessagesServiceServer,
            MessagesApi::new(domain, server)
        ))
        .add_service(server!(inboxes_service_server::InboxesServiceServer, InboxesApi::new(domain)))
        .add_service(server!(accounts_service_server::AccountsServiceServer, AccountsApi::new(domain)))
        .add_service(server!(client_service_server::ClientServiceServer, ClientApi::new(domain, server)))
        .add_service(server!(
            agent_bots_service_server::AgentBotsServiceServer,
            AgentBotsApi::new(domain)
        ))
        .add_service(server!(
            participants_service_server::ParticipantsServiceServer,
            ParticipantsApi::new(domain)
        ))
        .add_service(server!(presence_service_server::PresenceServiceServer, PresenceApi::new(domain)))
        .add_service(server!(labels_service_server::LabelsServiceServer, records::server(&domain.labels)))
        .add_service(server!(
            custom_attribute_definitions_service_server::CustomAttributeDefinitionsServiceServer,
            records::server(&domain.custom_attribute_definitions)
        ))
        .add_service(server!(
            canned_responses_service_server::CannedResponsesServiceServer,
            records::server(&domain.canned_responses)
        ))
        .add_service(server!(
            contact_notes_service_server::ContactNotesServiceServer,
            ContactNotesApi::new(domain)
        ))
        .add_service(server!(files_service_server::FilesServiceServer, FilesApi::new(domain, server)))
        .add_service(server!(consumers_service_server::ConsumersServiceServer, ConsumersApi::new(domain)))
        .add_service(server!(logins_service_server::LoginsServiceServer, LoginsApi::new(domain, server)))
        .add_service(server!(pubsub_service_server::PubsubServiceServer, PubsubApi::new(domain, server)))
        .add_service(server!(teams_service_server::TeamsServiceServer, TeamsApi::new(domain)))
        .add_service(server!(audit_service_server::AuditServiceServer, AuditApi::new(domain)))
        .add_service(server!(frames::events_service_server::EventsServiceServer, EventsApi::new(server)))
        .into_axum_router();
    let authenticator = Authenticator::new(context.tokens.clone(), Arc::clone(&config.anonymous));
    let router = middleware::stack(router, context, authenticator, limits, config.deadline);
    (Routes::from(router).prepare(), watching)
}
