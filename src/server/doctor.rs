//! What would keep a server with this configuration in this environment from working, found before it is started, or while it does not.

use std::{path::PathBuf, time::Duration};

use tokio::net::TcpStream;

use super::{descriptors, rooms, start};
use crate::{
    config::{Config, without_password},
    db::{Database, OpenError, Oversized, Standing},
    events::{follow, relay::Relay},
    telemetry,
};

mod listener;
mod modes;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Good,
    /// It works, and will not always.
    Doubtful,
    /// It does not work.
    Bad,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at.
    pub about: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what to do, in plain words and without secrets.
    pub says: String,
}

fn good(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        about,
        verdict: Verdict::Good,
        says: says.into(),
    }
}

fn doubtful(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Doubtful,
        ..good(about, says)
    }
}

fn bad(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Bad,
        ..good(about, says)
    }
}

/// How long anybody else may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long rows beyond their limits are looked for.
const SCAN: Duration = Duration::from_mins(1);

/// The oldest PostgreSQL that the tests run on is 15; older ones lack nothing that is known to be needed down to this one.
const OLDEST_POSTGRES: i64 = 13;

/// By how much clocks may differ before times look odd to people.
const CLOCKS: i64 = 1_000_000;

/// Looks at everything that the configuration names. It changes nothing that stays: a file is stored and removed again, and a signal sent.
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
    database(config, &mut found).await;
    found.push(nats(config).await);
    found.push(storage(config).await);
    found.push(mail(config).await);
    found.extend(modes::modes(config));
    found.extend(collectors(config).await);
    found.push(proxies(config));
    if config.http.base_url.is_empty() {
        let says = "http.base_url is empty: links to files begin with the address listened on, which only this machine may reach";
        found.push(doubtful("links", says));
    }
    found
}

/// Whether client addresses can be told apart behind a proxy.
fn proxies(config: &Config) -> Finding {
    const ABOUT: &str = "trusted proxies";
    if !config.limits.trusted_proxies.is_empty() {
        return good(ABOUT, format!("{} may say who the client is", config.limits.trusted_proxies));
    }
    doubtful(
        ABOUT,
        "limits.trusted_proxies is empty: behind a proxy or an ingress, anonymous requests that carry X-Forwarded-For are limited per inbox only, \
         and those without are all charged to the proxy; name the proxy's addresses",
    )
}

/// Each connection is one, and so is each of the database's.
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

async fn database(config: &Config, found: &mut Vec<Finding>) {
    const ABOUT: &str = "database";
    let db = match Database::open(&rooms::database(config)).await {
        Ok(db) => db,
        Err(error @ OpenError::Locked(_)) => return found.push(doubtful(ABOUT, error.to_string())),
        Err(error) => return found.push(bad(ABOUT, error.to_string())),
    };
    match db.examine().await {
        Err(error) => found.push(bad(ABOUT, format!("it does not answer: {error}"))),
        Ok(seen) => {
            found.push(good(ABOUT, format!("{} answers", seen.version)));
            if seen.postgres_major.is_some_and(|major| major < OLDEST_POSTGRES) {
                found.push(bad(ABOUT, format!("it is older than PostgreSQL {OLDEST_POSTGRES}")));
            }
            if seen.read_only {
                found.push(bad(ABOUT, "it is read only: is database.url the primary's, and not a standby's?"));
            }
            match &seen.standing {
                Standing::Same => found.push(good(ABOUT, "its tables are those of this version")),
                Standing::Newer(name) => found.push(doubtful(
                    ABOUT,
                    format!("it is newer than this program (it has seen the migration {name}), which works on it, as during an upgrade"),
                )),
                Standing::TooNew(name) => found.push(bad(ABOUT, format!("it is newer than this program (it has seen the migration {name}): run the newer version"))),
                Standing::Behind(count) if !seen.may_create => found.push(bad(
                    ABOUT,
                    format!("it is {count} migrations behind, and its user may not make tables: grant CREATE, or run `parley migrate` as its owner"),
                )),
                Standing::Behind(count) => found.push(good(ABOUT, format!("it is {count} migrations behind, which the next start runs"))),
            }
            if let Some(most) = seen.max_connections
                && i64::from(config.database.max_connections) * 2 > most
            {
                let says = format!(
                    "it takes {most} connections, and each replica may hold {} (database.max_connections): two replicas do not fit",
                    config.database.max_connections
                );
                found.push(doubtful(ABOUT, says));
            }
            if seen.clock_ahead.abs() > CLOCKS {
                let says = format!(
                    "its clock is {} ms ahead of this machine's: correct one of them",
                    seen.clock_ahead / 1000
                );
                found.push(doubtful("clock", says));
            }
            if matches!(seen.standing, Standing::Same | Standing::Newer(_)) {
                found.extend(oversized(&db).await);
                found.extend(times(&db).await);
            }
            if seen.postgres_major.is_some() {
                found.push(match tokio::time::timeout(PATIENCE, follow::hears(&db)).await {
                    Ok(Ok(())) => good("signals", "what one connection says another one hears"),
                    Ok(Err(error)) => bad("signals", format!("LISTEN and NOTIFY do not work: {error}")),
                    Err(_) => doubtful(
                        "signals",
                        "nothing was heard of what was said: a pooler between Parley and PostgreSQL that shares connections does not pass signals on. \
                         Replicas would look every events.poll_interval_milliseconds instead",
                    ),
                });
            }
        }
    }
    // What could not be closed is gone anyway.
    let _ = db.close().await;
    if let Some(file) = config
        .database
        .url
        .strip_prefix("sqlite://")
        .map(|rest| rest.split('?').next().unwrap_or_default())
    {
        found.push(disk(file));
    }
}

/// Rows that were stored before the limits of their fields.
async fn oversized(db: &Database) -> Vec<Finding> {
    const ABOUT: &str = "sizes";
    match tokio::time::timeout(SCAN, db.oversized()).await {
        Err(_) => vec![doubtful(
            ABOUT,
            "not all rows were looked at within 60 seconds, so some may be beyond the limits of their fields",
        )],
        Ok(Err(error)) => vec![doubtful(
            ABOUT,
            format!("rows beyond the limits of their fields could not be looked for: {error}"),
        )],
        Ok(Ok(found)) if found.is_empty() => vec![good(ABOUT, "no row is beyond the limits of its fields")],
        Ok(Ok(found)) => found
            .iter()
            .map(|rows| {
                let more = if rows.more { ", and maybe more" } else { "" };
                let says = format!(
                    "{}.{} is beyond its limits in {}{more}: it is sent without that field (truncated_fields) until it is made smaller",
                    rows.table,
                    rows.column,
                    rows.rows.join(", ")
                );
                doubtful(ABOUT, says)
            })
            .collect(),
    }
}

/// Times that were stored before they were limited.
async fn times(db: &Database) -> Vec<Finding> {
    const ABOUT: &str = "times";
    let found = match tokio::time::timeout(SCAN, db.times_out_of_range()).await {
        Err(_) => return vec![doubtful(ABOUT, "not all times were looked at within 60 seconds")],
        Ok(Err(error)) => return vec![doubtful(ABOUT, format!("times could not be looked at: {error}"))],
        Ok(Ok(found)) => found,
    };
    if found.is_empty() {
        return vec![good(ABOUT, "every stored time lies within the years 1 to 9999")];
    }
    let says = |rows: &Oversized| {
        let more = if rows.more { ", and maybe more" } else { "" };
        let (column, named) = (format!("{}.{}", rows.table, rows.column), rows.rows.join(", "));
        doubtful(
            ABOUT,
            format!(
                "{column} lies outside of the years 1 to 9999 in {named}{more}: it is sent as the nearest time within them until it is set again"
            ),
        )
    };
    found.iter().map(says).collect()
}

/// Whether a file has room to grow.
fn disk(file: &str) -> Finding {
    const LEAST: u64 = 1 << 30;
    let folder = PathBuf::from(file).parent().map_or_else(PathBuf::new, PathBuf::from);
    let folder = if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder
    };
    match rustix::fs::statvfs(&folder) {
        Err(error) => bad("disk", format!("{}: {error}", folder.display())),
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize;
            let says = format!("{} MiB are free in {}", free >> 20, folder.display());
            if free < LEAST { doubtful("disk", says) } else { good("disk", says) }
        }
    }
}

async fn nats(config: &Config) -> Finding {
    if config.nats.url.is_empty() {
        return good("nats", "not used: replicas hear of each other by the database's signals");
    }
    // What a start would refuse, which is less than what keeps NATS from being reached.
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

async fn storage(config: &Config) -> Finding {
    let storage = match start::storage(config) {
        Ok(storage) => storage,
        Err(error) => return bad("files", error.to_string()),
    };
    let tried = async {
        storage.open()?;
        storage.try_out().await?;
        anyhow::Ok(())
    };
    match tokio::time::timeout(PATIENCE * 4, tried).await {
        Ok(Ok(())) => good("files", format!("{} takes files and gives them back", config.files.url)),
        Ok(Err(error)) => bad(
            "files",
            format!("{} cannot be used, so uploads are refused: {error:#}", config.files.url),
        ),
        Err(_) => bad("files", format!("{} does not answer, so uploads are refused", config.files.url)),
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

/// Where telemetry goes: by the configuration, or by OpenTelemetry's variables.
async fn collectors(config: &Config) -> Vec<Finding> {
    const ABOUT: &str = "telemetry";
    let endpoints = telemetry::endpoints(&config.trace);
    if endpoints.is_empty() {
        return vec![good(ABOUT, "nothing is sent to a collector")];
    }
    let mut found = Vec::new();
    for endpoint in endpoints {
        let shown = without_password(&endpoint);
        let Some((host, port)) = host_and_port(&endpoint) else {
            found.push(bad(
                ABOUT,
                format!("{shown} is no address: write http://host:4317 or https://host:4317"),
            ));
            continue;
        };
        found.push(match tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => good(ABOUT, format!("{shown} takes connections at port {port}")),
            Ok(Err(error)) => doubtful(
                ABOUT,
                format!("{shown} cannot be reached at port {port}, and what is sent there is lost: {error}"),
            ),
            Err(_) => doubtful(
                ABOUT,
                format!("{shown} does not answer at port {port}, and what is sent there is lost"),
            ),
        });
    }
    found
}

/// Where the exporters connect to: without a port, to that of the scheme and not to OTLP's own.
fn host_and_port(endpoint: &str) -> Option<(String, u16)> {
    let uri: http::Uri = endpoint.parse().ok()?;
    let port = uri.port_u16().or(match uri.scheme_str()? {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    })?;
    Some((uri.host()?.trim_matches(['[', ']']).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_the_port_that_exporters_connect_to() {
        let read = |endpoint| host_and_port(endpoint).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read("http://otel:4317").as_deref(), Some("otel 4317"));
        assert_eq!(read("http://otel").as_deref(), Some("otel 80"));
        assert_eq!(read("https://otel/").as_deref(), Some("otel 443"));
        assert_eq!(read("http://[::1]:4317").as_deref(), Some("::1 4317"));
        assert_eq!(read("unix:///tmp/otel"), None);
        assert_eq!(read("http://"), None);
    }
}
