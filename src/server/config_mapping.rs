//! Maps the service's configuration to the configuration of each crate.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use parley_admission::{
    client_address::TrustedProxies,
    rate_limit::{self, AnonymousLimits},
    request_memory::RequestMemory,
};
use parley_domain::{auth::tokens::Tokens, files::Unattached, mail};
use parley_fault::Protection;
use parley_rest::origins::AllowedOrigins;
use tokio_util::sync::CancellationToken;

use super::{grpc_body::BodyLimits, listeners::HttpLimits, memory_limit, unread_responses::UnreadResponses};
use crate::config::{Config, LogFormat, age};

/// Effectively unlimited; used by tests that disable a limit.
const UNLIMITED: usize = 1 << 40;

/// Returns the configuration of the database.
pub fn database(config: &Config) -> parley_storage::Config {
    parley_storage::Config {
        url: config.database.url.clone(),
        create: true,
        max_connections: config.database.max_connections,
        alone: u32::try_from(config.writer.shards).unwrap_or(u32::MAX),
        connect_timeout: Duration::from_secs(config.database.connect_timeout_seconds),
        write_timeout: Duration::from_secs(config.database.write_timeout_seconds),
    }
}

/// Returns the database configuration for commands that require an existing database: no SQLite file is created.
pub fn existing_database(config: &Config) -> parley_storage::Config {
    parley_storage::Config {
        create: false,
        ..database(config)
    }
}

/// Returns the configuration of the event log.
pub fn events(config: &Config) -> parley_eventlog::Config {
    let events = &config.events;
    let bound = |limit: usize| {
        if parley_fault::is_on(Protection::Buffers) {
            limit
        } else {
            UNLIMITED
        }
    };
    parley_eventlog::Config {
        tail_events: bound(events.tail_events),
        tail_bytes: bound(events.tail_bytes),
        frame_bytes: bound(events.frame_bytes),
        page_events: bound(events.page_events) as u64,
        poll_interval: Duration::from_millis(events.poll_interval_milliseconds),
        default_heartbeat: Duration::from_secs(events.default_heartbeat_seconds),
        max_streams: events.max_streams,
    }
}

/// Returns the retention limits of the event log.
pub fn retention(config: &Config) -> parley_eventlog::RetentionLimits {
    let events = &config.events;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    parley_eventlog::RetentionLimits {
        age: days(events.keep_days),
        held: days(events.keep_days_for_consumers.max(events.keep_days)),
        events: Some(events.keep_events),
    }
}

/// Returns how long after an upgrade cursors are still issued without event marks, so that replicas of the previous release accept them.
pub fn cursor_marks_after(config: &Config) -> Duration {
    Duration::from_secs(config.events.cursor_marks_after_hours * 3600)
}

/// Returns the retention limits of audit events.
pub fn audit_retention(config: &Config) -> parley_domain::audit::Keep {
    parley_domain::audit::Keep {
        age: Duration::from_secs(config.audit.keep_days * 24 * 3600),
        events: config.audit.keep_events,
    }
}

/// Returns the configuration of the writer.
pub fn writer(config: &Config) -> parley_domain::write::Config {
    let writer = &config.writer;
    parley_domain::write::Config {
        shards: writer.shards,
        queue: writer.queue_messages,
        batch_items: writer.batch_messages,
        batch_bytes: writer.batch_bytes,
        #[cfg(feature = "faults")]
        fault: config.fault.switch.clone(),
    }
}

/// Returns the configuration of message batches.
pub fn message_batches(config: &Config) -> parley_domain::messages::batch::Config {
    parley_domain::messages::batch::Config {
        cached_conversations: config.writer.cached_conversations,
        messages_per_minute: config.limits.messages_per_conversation_per_minute,
    }
}

/// Returns the configuration of the domain.
pub fn domain(config: &Config, mails: bool) -> parley_domain::Config {
    parley_domain::Config {
        mails,
        concurrent_searches: config.limits.concurrent_searches,
    }
}

/// Returns the configuration for initializing an empty database.
pub fn bootstrap(config: &Config) -> parley_domain::auth::bootstrap::Config {
    parley_domain::auth::bootstrap::Config {
        token: config.bootstrap.token.clone(),
        inbox_identifier: config.bootstrap.inbox_identifier.clone(),
        platform_token: config.bootstrap.platform_token.clone(),
        // JSON logs are parsed by a collector, so the output must contain nothing but JSON. They are also retained, so the output must not
        // contain a secret. Therefore write the token to a file.
        token_file: (config.log.format == LogFormat::Json && !std::io::stdout().is_terminal()).then(|| token_file(config)),
    }
}

/// Returns the file to which a generated administrator's token is written: next to the `SQLite` file, or else in the working directory.
pub fn token_file(config: &Config) -> PathBuf {
    let mut file = parley_storage::sqlite_file(&config.database.url)
        .unwrap_or_else(|| "parley".into())
        .into_os_string();
    file.push(".token");
    file.into()
}

/// Returns the configuration of the file store.
pub fn file_store(config: &Config) -> parley_blobs::Config {
    parley_blobs::Config {
        url: config.files.url.clone(),
    }
}

/// Returns the base URL for links, which defaults to the listen address.
fn base_url(config: &Config, http: SocketAddr) -> String {
    if config.http.base_url.is_empty() {
        format!("http://{http}")
    } else {
        config.http.base_url.trim_end_matches('/').to_owned()
    }
}

/// Returns the configuration of uploads and file links.
pub fn files(config: &Config, http: SocketAddr) -> parley_domain::files::Config {
    let files = &config.files;
    parley_domain::files::Config {
        max_bytes: files.max_bytes,
        max_per_message: files.max_per_message,
        concurrent_uploads: files.concurrent_uploads,
        unattached: Unattached {
            of_session: files.unattached_bytes_per_session,
            of_sessions: files.unattached_session_bytes_per_account,
            of_members: files.unattached_bytes_per_account,
        },
        link_life: Duration::from_secs(files.link_minutes * 60),
        base_url: base_url(config, http),
    }
}

/// Returns the configuration of the mailer.
pub fn mail(config: &Config) -> mail::Config {
    mail::Config {
        url: config.mail.url.clone(),
        from: config.mail.from.clone(),
    }
}

/// Returns the timeouts and limits of HTTP connections.
pub fn http_limits(config: &Config, unread: UnreadResponses) -> HttpLimits {
    HttpLimits {
        idle: Duration::from_secs(config.http.idle_timeout_seconds),
        body: Duration::from_secs(config.limits.body_timeout_seconds),
        age: age(config.http.max_connection_age_seconds),
        trusted_proxies: trusted_proxies(config),
        max_concurrent_streams: config.http.max_concurrent_streams,
        unread,
    }
}

/// Returns the rate limits for callers without a token.
pub fn anonymous_limits(config: &Config) -> rate_limit::Config {
    let limits = &config.limits;
    rate_limit::Config {
        address: rate_limit::Rates {
            sessions: limits.sessions_per_minute_per_address,
            conversations: limits.conversations_per_minute_per_address,
            messages: limits.session_messages_per_minute_per_address,
            files: limits.session_files_per_minute_per_address,
            bytes: limits.session_bytes_per_minute_per_address,
        },
        inbox: rate_limit::Rates {
            sessions: limits.sessions_per_minute_per_inbox,
            conversations: limits.conversations_per_minute_per_inbox,
            messages: limits.session_messages_per_minute_per_inbox,
            files: limits.session_files_per_minute_per_inbox,
            bytes: limits.session_bytes_per_minute_per_inbox,
        },
        calls: limits.anonymous_calls_per_minute_per_address,
        failed_authentications: limits.failed_authentications_per_minute_per_address,
        streams: limits.streams_per_address,
        reflection_streams: limits.reflection_streams_per_address,
        downloads: limits.downloads_per_address,
        uploads: limits.uploads_per_address,
    }
}

/// Returns the proxies whose forwarding headers are trusted. The configuration has been validated, so parsing does not fail here.
pub fn trusted_proxies(config: &Config) -> TrustedProxies {
    TrustedProxies::parse(&config.limits.trusted_proxies).unwrap_or_default()
}

/// Returns how long a subscriber or a connection may go without reading while data is ready.
pub fn stall_timeout(config: &Config) -> Duration {
    Duration::from_secs(config.events.stall_timeout_seconds)
}

/// Returns the upper bound of a stream's lifetime, including the time until a client that does not read the end of the stream is
/// disconnected. `None` if streams have no maximum age.
pub fn longest_stream(config: &Config) -> Option<Duration> {
    age(config.events.max_stream_age_seconds).map(|age| age.mul_f64(1.1) + 2 * stall_timeout(config))
}

/// Returns the configuration of the gRPC API.
pub fn grpc_api(config: &Config, http: SocketAddr, anonymous: Arc<AnonymousLimits>) -> parley_grpc::Config {
    let limits = &config.limits;
    parley_grpc::Config {
        base_url: base_url(config, http),
        limits: parley_grpc::LimitsConfig {
            calls_per_second: limits.calls_per_second_per_token,
            burst: limits.burst_per_token,
            calls: limits.concurrent_calls,
            streams: limits.streams_per_token,
        },
        anonymous,
        stream_age: age(config.events.max_stream_age_seconds),
        deadline: Duration::from_secs(config.grpc.default_deadline_seconds),
        max_message_bytes: config.grpc.max_message_bytes,
        recheck: Duration::from_secs(config.auth.cache_seconds.max(1)),
        stall_timeout: stall_timeout(config),
        retention: retention(config).age,
    }
}

/// Returns the memory budget shared by the bodies of all requests. Defaults to a quarter of the process's memory limit, or of 1 GiB if the
/// limit is unknown.
pub fn request_memory(config: &Config, tokens: &Tokens, anonymous: &Arc<AnonymousLimits>) -> RequestMemory {
    let bytes = match config.limits.request_memory_bytes {
        0 => memory_limit::of_process().unwrap_or(1 << 30) / 4,
        bytes => bytes,
    };
    let tokens = parley_grpc::Authenticator::new(tokens.clone(), Arc::clone(anonymous));
    RequestMemory::new(bytes, config.grpc.max_message_bytes.max(config.http.max_body_bytes)).with_tokens(Arc::new(tokens))
}

/// Returns the limits on the bodies of gRPC calls.
pub fn body_limits(config: &Config, memory: RequestMemory, unread: UnreadResponses, anonymous: Arc<AnonymousLimits>) -> BodyLimits {
    BodyLimits {
        memory,
        timeout: Duration::from_secs(config.limits.body_timeout_seconds),
        max_message_bytes: config.grpc.max_message_bytes,
        unread,
        anonymous,
    }
}

/// Returns the configuration of the JSON API.
pub fn rest_gateway(
    config: &Config,
    memory: RequestMemory,
    drain: CancellationToken,
    anonymous: Arc<AnonymousLimits>,
    files: parley_domain::files::Files,
) -> parley_rest::Config {
    let is_secure = !config.tls.cert_file.is_empty() && config.tls.listeners.split(',').any(|named| named.trim() == "http");
    parley_rest::Config {
        anonymous,
        discard_uploads: discard_uploads(files),
        drain,
        base_url: config.http.base_url.clone(),
        // The configuration has been validated, so parsing does not fail here.
        cors: AllowedOrigins::parse(&config.http.cors_allowed_origins).unwrap_or_default(),
        max_body_bytes: config.http.max_body_bytes,
        memory,
        scheme: if is_secure { "https" } else { "http" },
    }
}

/// Returns the function that the gateway calls to discard the uploaded files of rejected forms.
fn discard_uploads(files: parley_domain::files::Files) -> parley_rest::DiscardUploads {
    parley_rest::DiscardUploads::new(move |upload_ids| {
        let files = files.clone();
        Box::pin(async move {
            if let Err(error) = files.discard(&upload_ids).await {
                tracing::warn!(%error, "failed to remove the files uploaded with a rejected multipart form; they will be removed later");
            }
        })
    })
}
