//! `parley serve` and `parley migrate`: configuration, telemetry, signals around the server.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Settings};
use crate::{server, telemetry::Telemetry};

pub(super) async fn serve(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(
        shutdown.clone(),
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ));
    let ended = server::run(config, telemetry.registry.clone(), shutdown).await;
    telemetry.shutdown().await;
    ended
}

pub(super) async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let ended = server::migrate(&config).await;
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
