//! The listeners: gRPC with gRPC-Web, health and reflection; HTTP.

use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

use super::{
    coalesce::Coalesced,
    linger::{self, Lingering},
};
use crate::{config, pb};

/// Binds a door.
///
/// # Errors
/// When the address cannot be bound; the error names the setting.
pub async fn bind(door: &'static str, address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{door}.addr = {address:?} cannot be bound"))
}

/// Serves gRPC until `stop`, then lets calls in flight finish.
///
/// # Errors
/// When the listener fails.
pub async fn grpc(listener: TcpListener, routes: Routes, config: config::Grpc, stop: CancellationToken) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    // The whole server, and each service by its name.
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    for name in SERVICES {
        health.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let tokenless = Routes::new(health_service)
        .add_service(reflection().build_v1().context("reflection")?)
        .add_service(reflection().build_v1alpha().context("reflection")?)
        .into_axum_router()
        .reset_fallback();
    let all = routes.into_axum_router().merge(tokenless);
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .map(|accepted| accepted.map(Coalesced::new));
    Server::builder()
        // gRPC-Web comes over HTTP/1.1 too.
        .accept_http1(true)
        .layer(tonic_web::GrpcWebLayer::new())
        .http2_keepalive_interval(Some(Duration::from_secs(config.keepalive_interval_seconds)))
        .http2_keepalive_timeout(Some(Duration::from_secs(config.keepalive_timeout_seconds)))
        .add_routes(Routes::from(all).prepare())
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .context("the gRPC listener")
}

/// The services by their full names, as health names them.
const SERVICES: [&str; 16] = [
    "parley.v1.AccountsService",
    "parley.v1.AgentBotsService",
    "parley.v1.CannedResponsesService",
    "parley.v1.ClientService",
    "parley.v1.ContactNotesService",
    "parley.v1.ContactsService",
    "parley.v1.ConversationsService",
    "parley.v1.CustomAttributeDefinitionsService",
    "parley.v1.EventsService",
    "parley.v1.InboxesService",
    "parley.v1.LabelsService",
    "parley.v1.MessagesService",
    "parley.v1.ParticipantsService",
    "parley.v1.PresenceService",
    "parley.v1.TeamsService",
    "parley.v1.FilesService",
];

/// Serves HTTP until `stop`, then lets requests in flight finish.
///
/// # Errors
/// When the listener fails.
pub async fn http(listener: TcpListener, router: axum::Router, stop: CancellationToken) -> anyhow::Result<()> {
    let router = router.layer(axum::middleware::from_fn(linger::tell));
    axum::serve(Lingering(listener), router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("the HTTP listener")
}
