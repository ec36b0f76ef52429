//! `parley serve`, `migrate`, `restored` and `rotate-link-key`: load the configuration, start telemetry, and run the server or the
//! maintenance operation.

use std::{
    convert::Infallible,
    io::{IsTerminal as _, Write as _},
};

use parley_domain::auth::bootstrap::AdministratorToken;
use prometheus::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Settings};
use crate::{
    config::{Config, DeprecatedKey, LogFormat},
    server::{self, StartError},
    telemetry::Telemetry,
};

pub(super) async fn serve(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = telemetry(&config)?;
    warn_of_deprecated_keys(&config);
    let shutdown = CancellationToken::new();
    let signals = cancel_on_signal(shutdown.clone(), signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = tokio::select! {
        ended = run(config, telemetry.registry.clone(), shutdown) => ended,
        never = signals => match never {},
    };
    telemetry.shutdown().await;
    ended
}

fn telemetry(config: &Config) -> Result<Telemetry, StartError> {
    Telemetry::start(&config.log, &config.trace).map_err(|error| StartError::Setting(format!("telemetry: {error:#}")))
}

fn warn_of_deprecated_keys(config: &Config) {
    for DeprecatedKey {
        key,
        replacement,
        source,
        is_ignored,
    } in &config.deprecated_keys
    {
        if *is_ignored {
            tracing::warn!(
                key,
                replacement,
                source,
                "a deprecated configuration key is ignored, because its replacement is set"
            );
        } else {
            tracing::warn!(key, replacement, source, "a configuration key is deprecated");
        }
    }
}

/// Runs a server until it has drained. If it initialized an empty database, reports the created token and inbox.
async fn run(config: Config, registry: Registry, shutdown: CancellationToken) -> anyhow::Result<()> {
    let for_people = config.log.format == LogFormat::Text || std::io::stdout().is_terminal();
    let running = server::start(config, registry, shutdown).await?;
    if let Some(bootstrapped) = &running.bootstrapped {
        let inbox_identifier = bootstrapped.inbox_identifier.as_str();
        match &bootstrapped.token {
            AdministratorToken::Stored(file) => tracing::info!(
                inbox_identifier,
                token_file = %file.display(),
                "initialized the empty database; run `parley initial-token` to print the administrator's token and remove the file that contains it"
            ),
            token if for_people => {
                let (grpc, http) = (running.grpc.to_string(), running.http.to_string());
                let text = super::welcome(&grpc, &http, token, inbox_identifier);
                // Do not use `println!`: it panics if standard output is closed, which would take the server down.
                if let Err(error) = writeln!(std::io::stdout(), "{text}") {
                    tracing::warn!(%error, "failed to print the administrator's token; `parley token create --offline --kind user` creates another");
                }
            }
            _ => tracing::info!(
                inbox_identifier,
                "initialized the empty database; the administrator's token is the configured one"
            ),
        }
    }
    running.ended().await
}

pub(super) async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = telemetry(&config)?;
    let ended = server::migrate(&config).await;
    telemetry.shutdown().await;
    ended
}

/// Starts a new epoch for every log and prints the number of logs.
pub(super) async fn restored(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = telemetry(&config)?;
    let ended = server::restored(&config).await.map(|logs| {
        println!("Started a new epoch in the logs of {logs} accounts: cursors issued before are rejected with EPOCH_CHANGED.");
    });
    telemetry.shutdown().await;
    ended
}

pub(super) async fn rotate_link_key(settings: Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let telemetry = telemetry(&config)?;
    let ended = server::rotate_link_key(&config).await.map(|links| {
        println!("Signed {links} stored links with a new key: file links issued before are no longer valid.");
    });
    telemetry.shutdown().await;
    ended
}

/// Starts draining on the first signal, and ends the process immediately on the second.
async fn cancel_on_signal(shutdown: CancellationToken, mut terminate: Signal, mut interrupt: Signal) -> Infallible {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("received a signal; draining");
    shutdown.cancel();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("received a second signal; exiting immediately");
    std::process::exit(Exit::Interrupted as i32);
}
