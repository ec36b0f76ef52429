//! `parley serve` and `parley migrate`: configuration, telemetry, signals around the server.

use prometheus::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Settings};
use crate::{config::Config, server, telemetry::Telemetry};

pub(super) async fn serve(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(
        shutdown.clone(),
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ));
    let ended = run(config, telemetry.registry.clone(), shutdown).await;
    telemetry.shutdown().await;
    ended
}

/// Runs a server until it has drained; prints what it made of an empty database.
async fn run(config: Config, registry: Registry, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = server::start(config, registry, shutdown).await?;
    if let Some(made) = &running.made {
        let (grpc, http) = (running.grpc.to_string(), running.http.to_string());
        println!("{}", super::welcome(&grpc, &http, &made.token, &made.inbox_identifier));
    }
    running.ended().await
}

pub(super) async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let ended = server::migrate(&config).await;
    telemetry.shutdown().await;
    ended
}

/// Gives every log another epoch, and says how many there were.
pub(super) async fn restored(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let ended = server::restored(&config).await.map(|logs| {
        println!("{logs} logs have another epoch: cursors from before are refused with EPOCH_CHANGED.");
    });
    telemetry.shutdown().await;
    ended
}

/// The first signal drains; who sends a second one does not want to wait.
async fn cancel_on_signal(shutdown: CancellationToken, mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("signal received, draining");
    shutdown.cancel();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("second signal received, leaving at once");
    std::process::exit(Exit::Interrupted as i32);
}
