//! Describes what a proxy in front of Parley must do, given Parley's settings. The proxy itself cannot be inspected.

use super::{Finding, passed, warning};
use crate::config::Config;

const SUBJECT: &str = "proxies";

/// nginx's default limit in bytes on the size of a request body. Other proxies allow more by default.
const SMALLEST_BODY: u64 = 1024 * 1024;

pub(super) fn proxies(config: &Config) -> Vec<Finding> {
    let mut found = vec![trusted(config)];
    if !config.http.base_url.is_empty() {
        found.push(bodies(config));
    }
    found
}

/// Checks whether clients behind a proxy can be told apart.
fn trusted(config: &Config) -> Finding {
    const SUBJECT: &str = "trusted proxies";
    if !config.limits.trusted_proxies.is_empty() {
        return passed(
            SUBJECT,
            format!("the forwarding headers of {} are trusted", config.limits.trusted_proxies),
        );
    }
    warning(
        SUBJECT,
        "limits.trusted_proxies is empty: behind a proxy or an ingress, anonymous requests that carry X-Forwarded-For are limited per inbox and per proxy, \
         and those without are all charged to the proxy; list the proxy's addresses",
    )
}

/// Describes what a proxy must let through so that clients can make full use of the configured limits.
fn bodies(config: &Config) -> Finding {
    let http = (config.http.max_body_bytes as u64).max(config.files.max_bytes);
    let grpc = config.grpc.max_message_bytes as u64;
    if http.max(grpc) <= SMALLEST_BODY {
        return passed(SUBJECT, "every accepted body is within the default limits of proxies");
    }
    warning(
        SUBJECT,
        format!(
            "http.base_url is set: a proxy there must allow requests of {http} bytes (http.max_body_bytes, files.max_bytes) and gRPC messages of {grpc} bytes \
             (grpc.max_message_bytes), where nginx rejects more than 1 MiB by default (client_max_body_size), close idle connections before \
             {} seconds (http.idle_timeout_seconds), and forward api_access_token (underscores_in_headers); see docs/proxies.md",
            config.http.idle_timeout_seconds
        ),
    )
}
