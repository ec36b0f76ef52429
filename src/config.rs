//! The service's configuration: one struct per component, which receives only its own part. `config.default.toml` defines the defaults and
//! documents every key.
//!
//! Layers, in increasing precedence: defaults, TOML file, environment, flags. [`sources`] merges them and [`rules`] validates the values.
//! Nothing here reads the process environment.

use std::{fmt, time::Duration};

use serde::Deserialize;

mod problems;
pub mod rules;
pub mod sources;

pub use problems::{ConfigError, DeprecatedKey};
pub use sources::{FlagValue, Sources};

/// The complete, validated configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub database: Database,
    pub grpc: Grpc,
    /// The listener of the JSON API.
    pub http: Http,
    /// Storage of uploaded files.
    pub files: Files,
    /// Outgoing email.
    pub mail: Mail,
    /// Relaying of commits between replicas.
    pub nats: Nats,
    /// The operators' listener: health and metrics.
    pub admin: Admin,
    pub tls: Tls,
    /// Group commit.
    pub writer: Writer,
    /// The event log: tail cache, streams and retention.
    pub events: Events,
    /// Rate and concurrency limits.
    pub limits: Limits,
    /// Caching of tokens.
    pub auth: Auth,
    /// Retention of stored responses.
    pub idempotency: Idempotency,
    /// Retention of audit events.
    pub audit: Audit,
    /// Initial contents of an empty database.
    pub bootstrap: Bootstrap,
    /// Draining on shutdown.
    pub shutdown: Shutdown,
    pub log: Log,
    /// Export of traces.
    pub trace: Trace,
    /// The protection to disable, for tests.
    #[cfg(feature = "faults")]
    pub fault: Fault,
    /// The deprecated keys that are set, each of which deserves a warning.
    #[serde(skip)]
    pub deprecated_keys: Vec<DeprecatedKey>,
}

/// Database connection.
#[derive(Clone, Deserialize)]
pub struct Database {
    /// `sqlite:` or `postgres:`. Can contain a password, which `Debug` hides.
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
    /// 0: unlimited.
    pub max_connection_age_seconds: u64,
}

/// The listener of the JSON API.
#[derive(Debug, Clone, Deserialize)]
pub struct Http {
    pub addr: String,
    pub max_body_bytes: usize,
    pub max_concurrent_streams: u32,
    pub idle_timeout_seconds: u64,
    /// 0: unlimited.
    pub max_connection_age_seconds: u64,
    /// If empty, derived from the listen address.
    pub base_url: String,
    /// Parsed by [`AllowedOrigins`](parley_rest::origins::AllowedOrigins).
    pub cors_allowed_origins: String,
}

/// Storage of uploaded files.
#[derive(Debug, Clone, Deserialize)]
pub struct Files {
    /// `file:` or `s3:`.
    pub url: String,
    pub max_bytes: u64,
    pub max_per_message: usize,
    pub concurrent_uploads: usize,
    /// 0: unlimited.
    pub unattached_bytes_per_session: u64,
    /// 0: unlimited.
    pub unattached_session_bytes_per_account: u64,
    /// 0: unlimited.
    pub unattached_bytes_per_account: u64,
    pub link_minutes: u64,
}

/// Outgoing email.
#[derive(Clone, Deserialize)]
pub struct Mail {
    /// Can contain a password, which `Debug` hides. If empty, no email is sent.
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

/// Transport security. The files are in PEM format.
#[derive(Debug, Clone, Deserialize)]
pub struct Tls {
    /// If empty, TLS is disabled.
    pub cert_file: String,
    pub key_file: String,
    /// If empty, no client certificate is required.
    pub client_ca_file: String,
    /// Comma-separated: any of `grpc`, `http` and `admin`.
    pub listeners: String,
}

/// The operators' listener: health and metrics.
#[derive(Debug, Clone, Deserialize)]
pub struct Admin {
    pub addr: String,
}

/// Group commit.
#[derive(Debug, Clone, Deserialize)]
pub struct Writer {
    /// Number of writer shards. SQLite always has one, regardless of this value.
    pub shards: usize,
    /// Per writer shard.
    pub queue_messages: usize,
    pub batch_messages: usize,
    pub batch_bytes: usize,
    pub cached_conversations: usize,
}

/// The event log: tail cache, streams and retention.
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
    /// 0: unlimited.
    pub max_stream_age_seconds: u64,
}

/// Relaying of commits between replicas.
#[derive(Clone, Deserialize)]
pub struct Nats {
    /// Can contain a password, which `Debug` hides. If empty, NATS is not used.
    pub url: String,
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("url", &without_password(&self.url)).finish()
    }
}

/// Rate and concurrency limits.
#[derive(Debug, Clone, Deserialize)]
pub struct Limits {
    /// 0: unlimited.
    pub messages_per_conversation_per_minute: u32,
    /// 0: unlimited.
    pub calls_per_second_per_token: u32,
    /// 0: `calls_per_second_per_token`.
    pub burst_per_token: u32,
    /// 0: unlimited.
    pub concurrent_calls: i64,
    pub concurrent_searches: usize,
    /// 0: unlimited.
    pub streams_per_token: usize,
    /// Per listener.
    pub connections: usize,
    /// Across both public listeners. 0: unlimited.
    pub connections_per_address: usize,
    /// 0: a quarter of the process's memory limit.
    pub request_memory_bytes: usize,
    pub body_timeout_seconds: u64,
    /// 0: unlimited.
    pub anonymous_calls_per_minute_per_address: u32,
    /// 0: unlimited.
    pub sessions_per_minute_per_address: u32,
    /// 0: unlimited.
    pub sessions_per_minute_per_inbox: u32,
    /// 0: unlimited.
    pub conversations_per_minute_per_address: u32,
    /// 0: unlimited.
    pub conversations_per_minute_per_inbox: u32,
    /// 0: unlimited.
    pub session_messages_per_minute_per_address: u32,
    /// 0: unlimited.
    pub session_messages_per_minute_per_inbox: u32,
    /// 0: unlimited.
    pub session_bytes_per_minute_per_address: u64,
    /// 0: unlimited.
    pub session_bytes_per_minute_per_inbox: u64,
    /// 0: unlimited.
    pub session_files_per_minute_per_address: u32,
    /// 0: unlimited.
    pub session_files_per_minute_per_inbox: u32,
    /// 0: unlimited.
    pub failed_authentications_per_minute_per_address: u32,
    /// 0: unlimited.
    pub streams_per_address: usize,
    /// 0: unlimited.
    pub reflection_streams_per_address: usize,
    /// 0: unlimited.
    pub downloads_per_address: usize,
    /// 0: unlimited.
    pub uploads_per_address: usize,
    /// Comma-separated addresses and networks. If empty, no proxy is trusted.
    pub trusted_proxies: String,
}

/// Caching of tokens.
#[derive(Debug, Clone, Deserialize)]
pub struct Auth {
    /// 0: caching is disabled.
    pub cache_seconds: u64,
    pub cached_tokens: u64,
}

/// Retention of stored responses.
#[derive(Debug, Clone, Deserialize)]
pub struct Idempotency {
    pub keep_hours: u64,
}

/// Retention of audit events.
#[derive(Debug, Clone, Deserialize)]
pub struct Audit {
    pub keep_days: u64,
    pub keep_events: u64,
}

/// Initial contents of an empty database.
#[derive(Clone, Deserialize)]
pub struct Bootstrap {
    /// A secret, which `Debug` hides. If empty, a random one is generated.
    pub token: String,
    /// If empty, a random one is generated.
    pub inbox_identifier: String,
    /// A secret, which `Debug` hides. If empty, no platform token is created.
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

/// Draining on shutdown.
#[derive(Debug, Clone, Deserialize)]
pub struct Shutdown {
    pub grace_seconds: u64,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Log output.
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// Export of traces.
#[derive(Debug, Clone, Deserialize)]
pub struct Trace {
    /// If empty, traces are not exported.
    pub otlp_endpoint: String,
    /// 0.0 to 1.0.
    pub sample_ratio: f64,
}

/// The protection to disable, for tests.
#[cfg(feature = "faults")]
#[derive(Debug, Clone, Deserialize)]
pub struct Fault {
    /// The protection to disable. If empty, all are enabled.
    pub switch: String,
}

/// An effective setting, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value as TOML, with secrets replaced by `***`.
    pub value: String,
    /// `default`, or the file, environment variable or flag that set it.
    pub source: String,
}

/// Returns every effective setting, in the order of the tables in the default configuration.
///
/// # Errors
/// Same as [`Config::load`].
pub fn settings(sources: &Sources) -> Result<Vec<Setting>, ConfigError> {
    let merged = sources::merge(sources)?;
    let mut found = Vec::new();
    for (name, table) in &merged.table {
        for (key, value) in table.as_table().into_iter().flatten() {
            let key = format!("{name}.{key}");
            let value = match value.as_str() {
                Some(text) if !rules::may_be_shown(&key) => format!("{:?}", without_secret(&key, text)),
                _ => value.to_string(),
            };
            let source = merged.sources.get(&key).cloned().unwrap_or_else(|| "default".to_owned());
            found.push(Setting { key, value, source });
        }
    }
    Ok(found)
}

/// Removes the credentials from an address, and replaces any other secret by `***`.
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
    /// Merges the defaults with the other sources and validates the result.
    ///
    /// # Errors
    /// Returns [`ConfigError`], which lists every unknown key and every invalid value with its source and the accepted values.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let merged = sources::merge(sources)?;
        let mut config: Self = toml::Value::Table(merged.table)
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError(vec![error.message().to_owned()]))?;
        config.deprecated_keys = merged.deprecated_keys;
        Ok(config)
    }
}

/// Converts a maximum age in seconds, where 0 means no maximum.
pub fn age(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Returns the comma-separated URLs with each password replaced by `***`: in the authority, where credentials without a user name are
/// hidden entirely, and in each query parameter whose name ends in `password`.
pub fn without_password(urls: &str) -> String {
    let mut shown: Vec<String> = Vec::new();
    for part in urls.split(',') {
        match shown.last_mut() {
            // Not a new URL: a password can contain a comma, and PostgreSQL separates several hosts by commas.
            Some(last) if !part.contains("://") => {
                last.push(',');
                last.push_str(part);
            }
            _ => shown.push(part.to_owned()),
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
    // Split at the last `@`: a password can itself contain `@`, `/` or `?`.
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
