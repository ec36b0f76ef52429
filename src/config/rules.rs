//! Validation rules for the value of each key. `config.default.toml` documents the same limits for users.

use std::net::ToSocketAddrs as _;

use parley_admission::client_address::TrustedProxies;
use parley_rest::origins::AllowedOrigins;
use toml::Value;
use tracing_subscriber::EnvFilter;

/// Validates the value of a known key. The value already has the type of its default.
///
/// # Errors
/// Returns a phrase that describes the accepted values, such as `must be 1 to 64`. It never contains the value.
pub fn check(key: &str, value: &Value) -> Result<(), String> {
    match (key, value) {
        ("database.url", Value::String(url)) => ensure(
            url.starts_with("sqlite:") || url.starts_with("postgres://") || url.starts_with("postgresql://"),
            "must be `sqlite://FILE` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`",
        ),
        ("grpc.addr" | "http.addr" | "admin.addr", Value::String(addr)) => address(addr),
        ("http.base_url", Value::String(url)) => ensure(
            url.is_empty() || url.starts_with("http://") || url.starts_with("https://"),
            "must be an address such as https://chat.example.org, or empty",
        ),
        ("nats.url", Value::String(url)) => ensure(
            url.is_empty() || url.split(',').all(|one| one.starts_with("nats://") || one.starts_with("tls://")),
            "must be empty, or an address such as nats://127.0.0.1:4222",
        ),
        ("mail.url", Value::String(url)) => ensure(
            url.is_empty() || url.starts_with("smtp://") || url.starts_with("smtps://"),
            "must be `smtp://USER:PASSWORD@HOST:587?tls=required` or `smtps://USER:PASSWORD@HOST`, or empty",
        ),
        ("mail.from", Value::String(from)) => ensure(from.contains('@'), "must be an address such as `Parley <no-reply@example.org>`"),
        ("files.url", Value::String(url)) => {
            // Bucket names contain neither `@` nor `:`. Reject both, because users sometimes put an access key and its secret here, which
            // responses and logs would then reveal.
            let bucket = url
                .strip_prefix("s3://")
                .filter(|rest| !rest.is_empty() && !rest.contains(['@', ':', '?']));
            let folder = url.strip_prefix("file:").filter(|rest| !rest.is_empty());
            ensure(
                bucket.or(folder).is_some(),
                "must be `file:FOLDER` or `s3://BUCKET/PREFIX`, without credentials: those come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        }
        ("bootstrap.token" | "bootstrap.platform_token", Value::String(token)) => ensure(
            token.is_empty() || ((24..=255).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())),
            "must be 24 to 255 visible ASCII characters, or empty",
        ),
        ("bootstrap.inbox_identifier", Value::String(identifier)) => ensure(
            identifier.len() <= 255 && identifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "must be at most 255 letters, digits, - and _, or empty for a random one",
        ),
        ("database.migrate", Value::Boolean(_)) => Ok(()),
        ("tls.cert_file" | "tls.key_file" | "tls.client_ca_file", Value::String(_)) => Ok(()),
        ("tls.listeners", Value::String(listeners)) => ensure(
            listeners.split(',').all(|one| matches!(one.trim(), "grpc" | "http" | "admin")),
            "must be any of grpc, http and admin, separated by commas",
        ),
        ("limits.trusted_proxies", Value::String(proxies)) => ensure(
            TrustedProxies::parse(proxies).is_ok(),
            "must be addresses and networks separated by commas, such as `10.0.0.0/8, 2001:db8::1`, or empty",
        ),
        ("http.cors_allowed_origins", Value::String(origins)) => AllowedOrigins::parse(origins).map(drop).map_err(str::to_owned),
        ("log.format", Value::String(format)) => ensure(matches!(format.as_str(), "text" | "json"), "must be `text` or `json`"),
        ("log.filter", Value::String(filter)) => ensure(
            !filter.is_empty() && EnvFilter::try_new(filter).is_ok(),
            "must be a level (error, warn, info, debug, trace) or directives such as `info,parley=debug`",
        ),
        ("trace.otlp_endpoint", Value::String(endpoint)) => ensure(
            endpoint.is_empty() || endpoint.starts_with("http://") || endpoint.starts_with("https://"),
            "must be an address such as http://127.0.0.1:4317, or empty to disable traces",
        ),
        ("trace.sample_ratio", Value::Float(ratio)) => ensure((0.0..=1.0).contains(ratio), "must be 0.0 to 1.0"),
        #[cfg(feature = "faults")]
        ("fault.switch", Value::String(_)) => Ok(()),
        (_, Value::Integer(number)) => {
            let (min, max) = range(key).ok_or("has no validation rule")?;
            ensure((min..=max).contains(number), &format!("must be {min} to {max}"))
        }
        _ => Err("has no validation rule for this type".to_owned()),
    }
}

/// Returns the minimum and maximum of an integer setting, or `None` if the key has no range.
fn range(key: &str) -> Option<(i64, i64)> {
    const KIB: i64 = 1024;
    const MIB: i64 = 1024 * KIB;
    Some(match key {
        "database.max_connections" | "limits.concurrent_searches" => (1, 1000),
        "database.connect_timeout_seconds" => (1, 300),
        "grpc.max_message_bytes" | "http.max_body_bytes" | "writer.batch_bytes" => (KIB, 256 * MIB),
        "files.max_bytes" => (KIB, 5120 * MIB),
        "files.max_per_message" => (1, 100),
        "files.link_minutes" => (1, 1440),
        "grpc.default_deadline_seconds" | "http.idle_timeout_seconds" | "events.trim_interval_seconds" | "limits.body_timeout_seconds" => {
            (1, 3600)
        }
        "grpc.keepalive_interval_seconds" => (1, 7200),
        "database.write_timeout_seconds" | "grpc.keepalive_timeout_seconds" => (1, 600),
        "writer.shards" => (1, 64),
        "grpc.max_concurrent_streams"
        | "http.max_concurrent_streams"
        | "writer.queue_messages"
        | "events.tail_events"
        | "events.max_streams"
        | "limits.connections" => (1, 1_000_000),
        "writer.batch_messages" | "events.page_events" | "files.concurrent_uploads" => (1, 10_000),
        "writer.cached_conversations" | "auth.cached_tokens" => (1, 10_000_000),
        "events.tail_bytes" => (KIB, 1024 * MIB),
        "events.frame_bytes" => (KIB, 2 * MIB),
        "events.poll_interval_milliseconds" => (10, 60_000),
        "events.default_heartbeat_seconds" => (1, 60),
        "events.stall_timeout_seconds" => (1, 86_400),
        "events.keep_days" | "events.keep_days_for_consumers" | "audit.keep_days" => (1, 3650),
        "events.cursor_marks_after_hours" => (0, 8760),
        "events.keep_events" => (1000, 1_000_000_000_000),
        "limits.messages_per_conversation_per_minute"
        | "limits.calls_per_second_per_token"
        | "limits.burst_per_token"
        | "limits.concurrent_calls"
        | "limits.streams_per_token"
        | "limits.connections_per_address"
        | "limits.streams_per_address"
        | "limits.reflection_streams_per_address"
        | "limits.uploads_per_address"
        | "limits.downloads_per_address" => (0, 1_000_000),
        "files.unattached_bytes_per_session"
        | "files.unattached_session_bytes_per_account"
        | "files.unattached_bytes_per_account"
        | "limits.session_bytes_per_minute_per_address"
        | "limits.session_bytes_per_minute_per_inbox"
        | "limits.request_memory_bytes" => (0, 1024 * 1024 * MIB),
        "limits.anonymous_calls_per_minute_per_address"
        | "limits.sessions_per_minute_per_address"
        | "limits.sessions_per_minute_per_inbox"
        | "limits.conversations_per_minute_per_address"
        | "limits.conversations_per_minute_per_inbox"
        | "limits.session_messages_per_minute_per_address"
        | "limits.session_messages_per_minute_per_inbox"
        | "limits.session_files_per_minute_per_address"
        | "limits.session_files_per_minute_per_inbox"
        | "limits.failed_authentications_per_minute_per_address" => (0, 100_000_000),
        "grpc.max_connection_age_seconds" | "http.max_connection_age_seconds" | "events.max_stream_age_seconds" => (0, 604_800),
        "auth.cache_seconds" | "shutdown.grace_seconds" => (0, 3600),
        "idempotency.keep_hours" => (1, 720),
        "audit.keep_events" => (100, 100_000_000),
        _ => return None,
    })
}

fn ensure(is_valid: bool, message: &str) -> Result<(), String> {
    if is_valid { Ok(()) } else { Err(message.to_owned()) }
}

/// Checks that an address is `host:port`, where the host is an IP address or a resolvable name.
fn address(addr: &str) -> Result<(), String> {
    let (host, port) = addr.rsplit_once(':').ok_or("must be `host:port`, such as 127.0.0.1:8080")?;
    ensure(
        !host.is_empty() && port.parse::<u16>().is_ok(),
        "must be `host:port`, such as 127.0.0.1:8080, with a port of 0 to 65535",
    )?;
    let found = addr.to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some());
    ensure(found, "must be `host:port` with a host that resolves")
}

/// Returns whether the value of a key is a secret or can contain one, and therefore belongs in a file.
pub fn is_secret(key: &str) -> bool {
    matches!(
        key,
        "database.url" | "mail.url" | "nats.url" | "bootstrap.token" | "bootstrap.platform_token"
    )
}

/// Returns whether an invalid value may appear in an error message. Values of `files.url` and `trace.otlp_endpoint` must not contain
/// credentials, but are not shown either, because users sometimes put an access key and its secret there.
pub fn may_be_shown(key: &str) -> bool {
    !is_secret(key) && !matches!(key, "files.url" | "trace.otlp_endpoint")
}
