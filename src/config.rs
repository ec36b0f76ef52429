//! The configuration: a struct per room, each room is handed its own. The defaults, and what every key means, stand in
//! `config.default.toml`.
//!
//! Layers, later ones winning: the defaults, a TOML file, the environment, flags. How they are joined is in
//! [`layers`], what a value may be in [`rules`]. Nothing here reads the process environment.

use std::{fmt, time::Duration};

use serde::Deserialize;

pub mod layers;
pub mod rules;
mod sources;

pub use sources::{ConfigError, FlagValue, Sources};

/// The whole configuration, checked.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where the data is.
    pub database: Database,
    /// The gRPC listener.
    pub grpc: Grpc,
    /// The listener of the JSON API.
    pub http: Http,
    /// Where files lie.
    pub files: Files,
    /// Where mails go.
    pub mail: Mail,
    /// Where commits are relayed.
    pub nats: Nats,
    /// The listener for operators.
    pub admin: Admin,
    /// Transport security.
    pub tls: Tls,
    /// Group commit.
    pub writer: Writer,
    /// The log in memory, and its subscribers.
    pub events: Events,
    /// What callers may do how often.
    pub limits: Limits,
    /// What is remembered of tokens.
    pub auth: Auth,
    /// What is remembered of `request_id`s.
    pub idempotency: Idempotency,
    /// What is kept of audit events.
    pub audit: Audit,
    /// What an empty database is filled with.
    pub bootstrap: Bootstrap,
    /// The drain.
    pub shutdown: Shutdown,
    /// Log lines.
    pub log: Log,
    /// Traces.
    pub trace: Trace,
    /// Protections turned off, for tests.
    #[cfg(feature = "faults")]
    pub fault: Fault,
}

/// Where the data is.
#[derive(Clone, Deserialize)]
pub struct Database {
    /// `sqlite:` or `postgres:`; may hold a password, which `Debug` does not show.
    pub url: String,
    pub max_connections: u32,
    pub connect_timeout_seconds: u64,
    pub write_timeout_seconds: u64,
    pub migrate: bool,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("url", &without_password(&self.url))
            .field("max_connections", &self.max_connections)
            .field("connect_timeout_seconds", &self.connect_timeout_seconds)
            .field("write_timeout_seconds", &self.write_timeout_seconds)
            .field("migrate", &self.migrate)
            .finish()
    }
}

/// The gRPC listener.
#[derive(Debug, Clone, Deserialize)]
pub struct Grpc {
    pub addr: String,
    pub max_message_bytes: usize,
    pub default_deadline_seconds: u64,
    pub max_concurrent_streams: u32,
    pub keepalive_interval_seconds: u64,
    pub keepalive_timeout_seconds: u64,
    /// 0: for ever.
    pub max_connection_age_seconds: u64,
}

/// The listener of the JSON API.
#[derive(Debug, Clone, Deserialize)]
pub struct Http {
    pub addr: String,
    pub max_body_bytes: usize,
    pub max_concurrent_streams: u32,
    pub idle_timeout_seconds: u64,
    /// 0: for ever.
    pub max_connection_age_seconds: u64,
    /// Empty: the address listened on.
    pub base_url: String,
    /// As [`AllowedOrigins`](parley_rest::origins::AllowedOrigins) reads it.
    pub cors_allowed_origins: String,
}

/// Where files lie.
#[derive(Debug, Clone, Deserialize)]
pub struct Files {
    /// `file:` or `s3:`.
    pub url: String,
    pub max_bytes: u64,
    pub max_per_message: usize,
    pub concurrent_uploads: usize,
    /// 0: no limit.
    pub unattached_bytes_per_session: u64,
    /// 0: no limit.
    pub unattached_session_bytes_per_account: u64,
    /// 0: no limit.
    pub unattached_bytes_per_account: u64,
    pub link_minutes: u64,
}

/// Where mails go.
#[derive(Clone, Deserialize)]
pub struct Mail {
    /// May hold a password, which `Debug` does not show. Empty: nowhere.
    pub url: String,
    pub from: String,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("url", &without_password(&self.url))
            .field("from", &self.from)
            .finish()
    }
}

/// Transport security. The files hold PEM.
#[derive(Debug, Clone, Deserialize)]
pub struct Tls {
    /// Empty: no TLS.
    pub cert_file: String,
    pub key_file: String,
    /// Empty: clients show no certificate.
    pub client_ca_file: String,
    /// Of `grpc`, `http` and `admin`, with commas.
    pub listeners: String,
}

/// The listener for operators.
#[derive(Debug, Clone, Deserialize)]
pub struct Admin {
    pub addr: String,
}

/// Group commit.
#[derive(Debug, Clone, Deserialize)]
pub struct Writer {
    /// An embedded database always has one, whatever stands here.
    pub lanes: usize,
    /// Per lane.
    pub queue_messages: usize,
    pub batch_messages: usize,
    pub batch_bytes: usize,
    pub cached_conversations: usize,
}

/// The log in memory, and its subscribers.
#[derive(Debug, Clone, Deserialize)]
pub struct Events {
    /// Per followed account.
    pub tail_events: usize,
    /// Per followed account.
    pub tail_bytes: usize,
    pub frame_bytes: usize,
    pub page_events: usize,
    pub poll_interval_milliseconds: u64,
    pub default_heartbeat_seconds: u64,
    pub stall_timeout_seconds: u64,
    pub keep_days: u64,
    pub keep_days_for_consumers: u64,
    pub keep_events: i64,
    pub cursor_marks_after_hours: u64,
    pub trim_interval_seconds: u64,
    pub max_streams: usize,
    /// 0: for ever.
    pub max_stream_age_seconds: u64,
}

/// Where commits are relayed.
#[derive(Clone, Deserialize)]
pub struct Nats {
    /// May hold a password, which `Debug` does not show. Empty: nowhere.
    pub url: String,
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("url", &without_password(&self.url)).finish()
    }
}

/// What callers may do how often.
#[derive(Debug, Clone, Deserialize)]
pub struct Limits {
    /// 0: no limit.
    pub messages_per_conversation_per_minute: u32,
    /// 0: no limit.
    pub calls_per_second_per_token: u32,
    /// 0: as many as a second has.
    pub burst_per_token: u32,
    /// 0: no limit.
    pub concurrent_calls: i64,
    pub concurrent_searches: usize,
    /// 0: no limit.
    pub streams_per_token: usize,
    /// Of each listener.
    pub connections: usize,
    /// Of both public listeners together. 0: no limit.
    pub connections_per_address: usize,
    /// 0: a quarter of what the process may take.
    pub request_memory_bytes: usize,
    pub body_timeout_seconds: u64,
    /// 0: no limit.
    pub anonymous_calls_per_minute_per_address: u32,
    /// 0: no limit.
    pub sessions_per_minute_per_address: u32,
    /// 0: no limit.
    pub sessions_per_minute_per_inbox: u32,
    /// 0: no limit.
    pub conversations_per_minute_per_address: u32,
    /// 0: no limit.
    pub conversations_per_minute_per_inbox: u32,
    /// 0: no limit.
    pub session_messages_per_minute_per_address: u32,
    /// 0: no limit.
    pub session_messages_per_minute_per_inbox: u32,
    /// 0: no limit.
    pub session_bytes_per_minute_per_address: u64,
    /// 0: no limit.
    pub session_bytes_per_minute_per_inbox: u64,
    /// 0: no limit.
    pub session_files_per_minute_per_address: u32,
    /// 0: no limit.
    pub session_files_per_minute_per_inbox: u32,
    /// 0: no limit.
    pub failed_authentications_per_minute_per_address: u32,
    /// 0: no limit.
    pub streams_per_address: usize,
    /// 0: no limit.
    pub reflection_streams_per_address: usize,
    /// 0: no limit.
    pub downloads_per_address: usize,
    /// 0: no limit.
    pub uploads_per_address: usize,
    /// Addresses and networks, with commas. Empty: none.
    pub trusted_proxies: String,
}

/// What is remembered of tokens.
#[derive(Debug, Clone, Deserialize)]
pub struct Auth {
    /// 0: nothing is remembered.
    pub cache_seconds: u64,
    pub cached_tokens: u64,
}

/// What is remembered of `request_id`s.
#[derive(Debug, Clone, Deserialize)]
pub struct Idempotency {
    pub keep_hours: u64,
}

/// What is kept of audit events.
#[derive(Debug, Clone, Deserialize)]
pub struct Audit {
    pub keep_days: u64,
    pub keep_events: u64,
}

/// What an empty database is filled with.
#[derive(Clone, Deserialize)]
pub struct Bootstrap {
    /// A secret: `Debug` does not show it. Empty: a random one.
    pub token: String,
    /// Empty: a random one.
    pub inbox_identifier: String,
    /// A secret too. Empty: none.
    pub platform_token: String,
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &str| if secret.is_empty() { "" } else { "***" };
        f.debug_struct("Bootstrap")
            .field("token", &hidden(&self.token))
            .field("inbox_identifier", &self.inbox_identifier)
            .field("platform_token", &hidden(&self.platform_token))
            .finish()
    }
}

/// The drain.
#[derive(Debug, Clone, Deserialize)]
pub struct Shutdown {
    pub grace_seconds: u64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Log lines.
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// Traces.
#[derive(Debug, Clone, Deserialize)]
pub struct Trace {
    /// Empty: no traces are sent.
    pub otlp_endpoint: String,
    /// 0.0 to 1.0.
    pub sample_ratio: f64,
}

/// Protections turned off, for tests.
#[cfg(feature = "faults")]
#[derive(Debug, Clone, Deserialize)]
pub struct Fault {
    /// The protection that is off. Empty: none.
    pub switch: String,
}

/// A setting in force, for people: its key, its value as TOML without secrets, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value, with `***` in place of a secret.
    pub value: String,
    /// `default`, or the file, variable or flag.
    pub source: String,
}

/// Every setting in force, in the order of the defaults' tables.
///
/// # Errors
/// As [`Config::load`].
pub fn settings(sources: &Sources) -> Result<Vec<Setting>, ConfigError> {
    let joined = layers::join(sources)?;
    let mut found = Vec::new();
    for (name, table) in &joined.table {
        for (key, value) in table.as_table().into_iter().flatten() {
            let key = format!("{name}.{key}");
            let value = match value.as_str() {
                Some(text) if !rules::is_shown(&key) => format!("{:?}", without_secret(&key, text)),
                _ => value.to_string(),
            };
            let source = joined.sources.get(&key).cloned().unwrap_or_else(|| "default".to_owned());
            found.push(Setting { key, value, source });
        }
    }
    Ok(found)
}

/// An address without what lets somebody in, and `***` for any other secret.
fn without_secret(key: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else if key.starts_with("bootstrap.") {
        "***".to_owned()
    } else {
        without_password(text)
    }
}

impl Config {
    /// Joins the defaults and the sources.
    ///
    /// # Errors
    /// [`ConfigError`] with each unknown key and each bad value, its source, and what would be right.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let joined = layers::join(sources)?;
        toml::Value::Table(joined.table)
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError(vec![error.message().to_owned()]))
    }
}

/// An age in seconds, of which 0 is none.
pub fn age(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The URLs, separated by commas, each with `***` in place of its password: in the authority, where one without a name is all of the credentials,
/// and in each parameter whose name ends in `password`.
pub fn without_password(urls: &str) -> String {
    let mut shown: Vec<String> = Vec::new();
    for piece in urls.split(',') {
        match shown.last_mut() {
            // A password may hold a comma, and PostgreSQL's hosts are separated by them too.
            Some(last) if !piece.contains("://") => {
                last.push(',');
                last.push_str(piece);
            }
            _ => shown.push(piece.to_owned()),
        }
    }
    for url in &mut shown {
        hide_credentials(url);
        hide_parameters(url);
    }
    shown.join(",")
}

fn hide_credentials(url: &mut String) {
    let Some(start) = url.find("://").map(|at| at + 3) else { return };
    // The last @ ends the credentials: a password may hold an @, a / or a ? itself.
    let Some(at) = url[start..].rfind('@').map(|at| start + at) else {
        return;
    };
    let hidden = url[start..at].find(':').map_or(start, |colon| start + colon + 1);
    url.replace_range(hidden..at, "***");
}

fn hide_parameters(url: &mut String) {
    const NAME: &str = "password=";
    let mut from = 0;
    while let Some(start) = url[from..].to_ascii_lowercase().find(NAME).map(|at| from + at + NAME.len()) {
        let end = url[start..].find('&').map_or(url.len(), |at| start + at);
        url.replace_range(start..end, "***");
        from = start;
    }
}

#[cfg(test)]
mod tests;
