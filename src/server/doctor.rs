//! Diagnoses what would prevent a server with this configuration from working in this environment, whether or not it is running.

use parley_eventlog::nats::Relay;

use super::{descriptors, start};
use crate::config::Config;

mod collectors;
mod database;
mod files;
mod finding;
mod listener;
mod modes;
mod proxies;
mod secrets;

pub use finding::{Finding, Verdict};
use finding::{PATIENCE, bad, doubtful, good};

/// Checks everything that the configuration refers to. Creates no database and no folder, and makes no lasting changes: it stores a file
/// and removes it again, and sends a notification.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut found = vec![files_open(config)];
    for (door, address) in [
        ("grpc", &config.grpc.addr),
        ("http", &config.http.addr),
        ("admin", &config.admin.addr),
    ] {
        found.push(listener::listener(config, door, address).await);
    }
    found.push(match start::tls(config) {
        Ok(None) => doubtful(
            "tls",
            "off: tokens and messages pass in plain text unless something in front of Parley ends TLS",
        ),
        Ok(Some(_)) => good(
            "tls",
            format!(
                "the certificate and its key belong together; {} speak TLS alone",
                config.tls.listeners
            ),
        ),
        Err(error) => bad("tls", error.to_string()),
    });
    database::database(config, &mut found).await;
    found.push(nats(config).await);
    found.push(files::storage(config).await);
    found.push(mail(config).await);
    found.extend(modes::modes(config));
    found.extend(secrets::secrets(config));
    found.extend(collectors::collectors(config).await);
    found.extend(proxies::proxies(config));
    if config.http.base_url.is_empty() {
        let says = "http.base_url is empty: links to files begin with the address listened on, which only this machine may reach";
        found.push(doubtful("links", says));
    }
    found
}

/// Every client connection uses a descriptor, and so does every database connection.
fn files_open(config: &Config) -> Finding {
    let wanted = 2 * config.limits.connections as u64 + descriptors::reserved(config) as u64;
    match descriptors::raise() {
        Some(limit) if limit < wanted => doubtful(
            "open files",
            format!(
                "this process may have {limit} open, and limits.connections = {} for each of two listeners may need {wanted}: each gets {} \
                 connections; raise the limit (ulimit -n, LimitNOFILE) or lower the setting",
                config.limits.connections,
                descriptors::connections(config, Some(limit)).each
            ),
        ),
        limit => good(
            "open files",
            limit.map_or_else(|| "no limit".to_owned(), |limit| format!("up to {limit}")),
        ),
    }
}

async fn nats(config: &Config) -> Finding {
    if config.nats.url.is_empty() {
        return good("nats", "not used: replicas hear of each other by the database's signals");
    }
    // Checks the URL first: an invalid URL prevents a start, while an unreachable server does not.
    if let Err(error) = start::relay(config).await {
        return bad("nats", error.to_string());
    }
    match tokio::time::timeout(PATIENCE, Relay::reaches(&config.nats.url)).await {
        Ok(Ok(())) => good("nats", "it answers, and has JetStream"),
        Ok(Err(error)) => bad("nats", format!("{error:#}; until it answers the database's signals serve")),
        Err(_) => bad(
            "nats",
            "it does not answer within 5 seconds; until it does the database's signals serve",
        ),
    }
}

async fn mail(config: &Config) -> Finding {
    match start::mailer(config) {
        Ok(None) => good("mail", "not used: who asks for a transcript is told so"),
        Err(error) => bad("mail", error.to_string()),
        Ok(Some(mailer)) => match tokio::time::timeout(PATIENCE, mailer.greet()).await {
            Ok(Ok(())) => good("mail", "the server of mails lets us in"),
            Ok(Err(error)) => bad("mail", format!("the server of mails turns us away: {error}")),
            Err(_) => bad("mail", "the server of mails does not answer within 5 seconds"),
        },
    }
}
