//! Diagnoses what would prevent a server with this configuration from working in this environment, whether or not it is running.

use parley_eventlog::nats::Relay;

use super::{descriptors, start};
use crate::config::Config;

mod collectors;
mod database;
mod files;
mod finding;
mod listener;
mod permissions;
mod proxies;
mod secrets;

pub use finding::{Finding, Verdict};
use finding::{TIMEOUT, failed, passed, warning};

/// Checks everything that the configuration refers to. Creates no database and no folder, and makes no lasting changes: it stores a file
/// and removes it again, and sends a notification through the database.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut found = vec![open_files(config)];
    found.extend(config.deprecated_keys.iter().map(|key| warning("settings", key.to_string())));
    for (name, address) in [
        ("grpc", &config.grpc.addr),
        ("http", &config.http.addr),
        ("admin", &config.admin.addr),
    ] {
        found.push(listener::listener(config, name, address).await);
    }
    found.push(match start::tls(config) {
        Ok(None) => warning(
            "tls",
            "disabled: tokens and messages are sent in plain text unless a proxy in front of Parley terminates TLS",
        ),
        Ok(Some(_)) => passed(
            "tls",
            format!("the certificate matches its key; {} accept TLS only", config.tls.listeners),
        ),
        Err(error) => failed("tls", error.to_string()),
    });
    database::database(config, &mut found).await;
    found.push(nats(config).await);
    found.push(files::file_store(config).await);
    found.push(mail(config).await);
    found.extend(permissions::permissions(config));
    found.extend(secrets::secrets(config));
    found.extend(collectors::collectors(config).await);
    found.extend(proxies::proxies(config));
    if config.http.base_url.is_empty() {
        let message = "http.base_url is empty: file links start with the listen address, which might be reachable from this machine only";
        found.push(warning("links", message));
    }
    found
}

/// Checks the limit on open files: every client connection uses a descriptor, and so does every database connection.
fn open_files(config: &Config) -> Finding {
    let wanted = 2 * config.limits.connections as u64 + descriptors::reserved(config) as u64;
    match descriptors::raise_limit() {
        Some(limit) if limit < wanted => warning(
            "open files",
            format!(
                "this process may open {limit} files, but limits.connections = {} for each of two listeners can require {wanted}: each gets {} \
                 connections; raise the limit (ulimit -n, LimitNOFILE) or lower the setting",
                config.limits.connections,
                descriptors::connection_limits(config, Some(limit)).per_listener
            ),
        ),
        limit => passed(
            "open files",
            limit.map_or_else(|| "no limit".to_owned(), |limit| format!("up to {limit}")),
        ),
    }
}

async fn nats(config: &Config) -> Finding {
    if config.nats.url.is_empty() {
        return passed("nats", "not used: replicas are notified by the database");
    }
    // Check the URL first: an invalid URL prevents the server from starting, while an unreachable server does not.
    if let Err(error) = start::relay(config).await {
        return failed("nats", error.to_string());
    }
    match tokio::time::timeout(TIMEOUT, Relay::reaches(&config.nats.url)).await {
        Ok(Ok(())) => passed("nats", "it responds, and has JetStream"),
        Ok(Err(error)) => failed(
            "nats",
            format!("{error:#}; until it responds, notifications of the database are used"),
        ),
        Err(_) => failed(
            "nats",
            "it does not respond within 5 seconds; until it does, notifications of the database are used",
        ),
    }
}

async fn mail(config: &Config) -> Finding {
    match start::mailer(config) {
        Ok(None) => passed("mail", "not used: requests for a transcript fail"),
        Err(error) => failed("mail", error.to_string()),
        Ok(Some(mailer)) => match tokio::time::timeout(TIMEOUT, mailer.greet()).await {
            Ok(Ok(())) => passed("mail", "the mail server accepts the connection"),
            Ok(Err(error)) => failed("mail", format!("the mail server rejects the connection: {error}")),
            Err(_) => failed("mail", "the mail server does not respond within 5 seconds"),
        },
    }
}
