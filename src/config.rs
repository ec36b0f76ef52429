//! The service's configuration: one struct per component, so that each component receives only its own settings. `config.default.toml`
//! defines the defaults and documents every key.
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
    /// Settings for the listener of the JSON API.
    pub http: Http,
    /// Settings for the storage of uploaded files.
    pub files: Files,
    /// Settings for outgoing email.
    pub mail: Mail,
    /// Settings for relaying commits between replicas through NATS.
    pub nats: Nats,
    /// Settings for the operators' listener, which serves health checks and metrics.
    pub admin: Admin,
    pub tls: Tls,
    /// Settings for group commit by the writer.
    pub writer: Writer,
    /// Settings for the event log: tail cache, streams and retention.
    pub events: Events,
    /// Rate and concurrency limits.
    pub limits: Limits,
    /// Settings for the token cache.
    pub auth: Auth,
    /// Settings for the retention of responses that are stored for idempotency.
    pub idempotency: Idempotency,
    /// Settings for the retention of audit events.
    pub audit: Audit,
    /// Settings for the initial contents of an empty database.
    pub bootstrap: Bootstrap,
    /// Settings for draining on shutdown.
    pub shutdown: Shutdown,
    pub log: Log,
    /// Settings for the export of traces.
    pub trace: Trace,
    /// Settings for tests that disable a protection.
    #[cfg(feature = "faults")]
    pub fault: Fault,
    /// The deprecated keys that are set, for each of which a warning is logged.
    #[serde(skip)]
    pub deprecated_keys: Vec<DeprecatedKey>,
}

/// Settings for the database connections.
#[derive(Clone, Deserialize)]
pub struct Database {
    /// A `sqlite:` or `postgres:` URL. It can contain a password, which `Debug` hides.
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

/// Settings for the gRPC listener.
#[derive(Debug, Clone, Deserialize)]
pub struct Grpc {
    pub addr: String,
    pub max_message_bytes: usize,
    pub default_deadline_seconds: u64,
    pub max_concurrent_streams: u32,
    pub keepalive_interval_seconds: u64,
    pub keepalive_timeout_seconds: u64,
    /// 0 means unlimited.
    pub max_connection_age_seconds: u64,
}

/// Settings for the listener of the JSON API.
#[derive(Debug, Clone, Deserialize)]
pub struct Http {
    pub addr: String,
    pub max_body_bytes: usize,
    pub max_concurrent_streams: u32,
    pub idle_timeout_seconds: u64,
    /// 0 means unlimited.
    pub max_connection_age_seconds: u64,
    /// If empty, the base URL is derived from the listen address.
    pub base_url: String,
    /// The origins that CORS permits, in the format that [`AllowedOrigins`](parley_rest::origins::AllowedOrigins) parses.
    pub cors_allowed_origins: String,
}

/// Settings for the storage of uploaded files.
#[derive(Debug, Clone, Deserialize)]
pub struct Files {
    /// A `file:` or `s3:` URL.
    pub url: String,
    pub max_bytes: u64,
    pub max_per_message: usize,
    pub concurrent_uploads: usize,
    /// 0 means unlimited.
    pub unattached_bytes_per_session: u64,
    /// 0 means unlimited.
    pub unattached_session_bytes_per_account: u64,
    /// 0 means unlimited.
    pub unattached_bytes_per_account: u64,
    pub link_minutes: u64,
}

/// Settings for outgoing email.
#[derive(Clone, Deserialize)]
pub struct Mail {
    /// The URL of the mail server. It can contain a password, which `Debug` hides. If empty, no email is sent.
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

/// Settings for TLS. The files are in PEM format.
#[derive(Debug, Clone, Deserialize)]
pub struct Tls {
    /// If empty, TLS is disabled.
    pub cert_file: String,
    pub key_file: String,
    /// If empty, no client certificate is required.
    pub client_ca_file: String,
    /// The listeners that use TLS, separated by commas: any of `grpc`, `http` and `admin`.
    pub listeners: String,
}

/// Settings for the operators' listener, which serves health checks and metrics.
#[derive(Debug, Clone, Deserialize)]
pub struct Admin {
    pub addr: String,
}

/// Settings for group commit by the writer.
#[derive(Debug, Clone, Deserialize)]
pub struct Writer {
    /// Number of writer shards. SQLite always has one, regardless of this value.
    pub shards: usize,
    /// Maximum number of writes queued per writer shard.
    pub queue_messages: usize,
    pub batch_messages: usize,
    pub batch_bytes: usize,
    pub cached_conversations: usize,
}

/// Settings for the event log: tail cache, streams and retention.
#[derive(Debug, Clone, Deserialize)]
pub struct Events {
    /// Number of recent events cached per followed account.
    pub tail_events: usize,
    /// Maximum size in bytes of the events cached per followed account.
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
    /// 0 means unlimited.
    pub max_stream_age_seconds: u64,
}

/// Settings for relaying commits between replicas through NATS.
#[derive(Clone, Deserialize)]
pub struct Nats {
    /// The URLs of the NATS servers, separated by commas. They can contain passwords, which `Debug` hides. If empty, NATS is not used.
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
    /// 0 means unlimited.
    pub messages_per_conversation_per_minute: u32,
    /// 0 means unlimited.
    pub calls_per_second_per_token: u32,
    /// 0 means the value of `calls_per_second_per_token`.
    pub burst_per_token: u32,
    /// 0 means unlimited.
    pub concurrent_calls: i64,
    pub concurrent_searches: usize,
    /// 0 means unlimited.
    pub streams_per_token: usize,
    /// Maximum number of connections per listener.
    pub connections: usize,
    /// Maximum number of connections per client address, across both public listeners. 0 means unlimited.
    pub connections_per_address: usize,
    /// 0 means a quarter of the process's memory limit.
    pub request_memory_bytes: usize,
    pub body_timeout_seconds: u64,
    /// 0 means unlimited.
    pub anonymous_calls_per_minute_per_address: u32,
    /// 0 means unlimited.
    pub sessions_per_minute_per_address: u32,
    /// 0 means unlimited.
    pub sessions_per_minute_per_inbox: u32,
    /// 0 means unlimited.
    pub conversations_per_minute_per_address: u32,
    /// 0 means unlimited.
    pub conversations_per_minute_per_inbox: u32,
    /// 0 means unlimited.
    pub session_messages_per_minute_per_address: u32,
    /// 0 means unlimited.
    pub session_messages_per_minute_per_inbox: u32,
    /// 0 means unlimited.
    pub session_bytes_per_minute_per_address: u64,
    /// 0 means unlimited.
    pub session_bytes_per_minute_per_inbox: u64,
    /// 0 means unlimited.
    pub session_files_per_minute_per_address: u32,
    /// 0 means unlimited.
    pub session_files_per_minute_per_inbox: u32,
    /// 0 means unlimited.
    pub failed_authentications_per_minute_per_address: u32,
    /// 0 means unlimited.
    pub streams_per_address: usize,
    /// 0 means unlimited.
    pub reflection_streams_per_address: usize,
    /// 0 means unlimited.
    pub downloads_per_address: usize,
    /// 0 means unlimited.
    pub uploads_per_address: usize,
    /// Addresses and networks of trusted proxies, separated by commas. If empty, no proxy is trusted.
    pub trusted_proxies: String,
}

/// Settings for the token cache.
#[derive(Debug, Clone, Deserialize)]
pub struct Auth {
    /// How long tokens are cached. 0 disables the cache.
    pub cache_seconds: u64,
    pub cached_tokens: u64,
}

/// Settings for the retention of responses that are stored for idempotency.
#[derive(Debug, Clone, Deserialize)]
pub struct Idempotency {
    pub keep_hours: u64,
}

/// Settings for the retention of audit events.
#[derive(Debug, Clone, Deserialize)]
pub struct Audit {
    pub keep_days: u64,
    pub keep_events: u64,
}

/// Settings for the initial contents of an empty database.
#[derive(Clone, Deserialize)]
pub struct Bootstrap {
    /// The administrator's token, a secret that `Debug` hides. If empty, a random token is generated.
    pub token: String,
    /// If empty, a random identifier is generated.
    pub inbox_identifier: String,
    /// A platform token, a secret that `Debug` hides. If empty, no platform token is created.
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

/// Settings for draining on shutdown.
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

/// Settings for log output.
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    pub format: LogFormat,
    /// Directives for `tracing_subscriber::EnvFilter`, which select the log lines to write.
    pub filter: String,
}

/// Settings for the export of traces.
#[derive(Debug, Clone, Deserialize)]
pub struct Trace {
    /// If empty, traces are not exported.
    pub otlp_endpoint: String,
    /// The fraction of new traces that is sampled, from 0.0 to 1.0.
    pub sample_ratio: f64,
}

/// Settings for tests that disable a protection.
#[cfg(feature = "faults")]
#[derive(Debug, Clone, Deserialize)]
pub struct Fault {
    /// The protection to disable. If empty, all protections are enabled.
    pub switch: String,
}

/// An effective setting, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key, such as `grpc.addr`.
    pub key: String,
    /// The value as TOML, with secrets replaced by `***`.
    pub value: String,
    /// Where the value comes from: `default`, or the file, environment variable or flag that set it.
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

/// Hides the secret in a setting: replaces a token entirely by `***`, and in an address only the password.
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

/// Returns the comma-separated URLs with `***` in place of each password in the authority and in each query parameter whose name ends in
/// `password`. Credentials that contain no colon are hidden entirely.
pub fn without_password(urls: &str) -> String {
    let mut shown: Vec<String> = Vec::new();
    for part in urls.split(',') {
        match shown.last_mut() {
            // A part without `://` is not a new URL: a password can contain a comma, and PostgreSQL separates several hosts by commas.
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
