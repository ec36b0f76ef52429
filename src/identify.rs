//! Identifies the program that listens at an address from its responses. No secrets are sent, and the responses are not trusted.

use std::{net::SocketAddr, time::Duration};

/// Timeout of each request.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum number of bytes read from a response.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// A gRPC-Web frame that contains `HealthCheckRequest { service: "parley.v1.AccountsService" }`.
const HEALTH_REQUEST: &[u8] = b"\0\0\0\0\x1b\x0a\x19parley.v1.AccountsService";

/// The kind of program that listens at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Parley's gRPC API.
    Grpc,
    /// Parley's JSON API.
    Rest,
    /// Parley's listener for operators.
    Admin,
    /// Another HTTP server.
    OtherHttp,
    /// A program that does not respond to HTTP, or that requires a client certificate.
    Unknown,
}

/// Returns the address at which this machine can reach a listener, which may be bound to all interfaces.
pub fn reachable(addr: &str) -> String {
    match addr.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(any)) if any.ip().is_unspecified() => format!("127.0.0.1:{}", any.port()),
        Ok(SocketAddr::V6(any)) if any.ip().is_unspecified() => format!("[::1]:{}", any.port()),
        _ => addr.to_owned(),
    }
}

/// Identifies the listener at `base`, such as `http://127.0.0.1:8080`. Certificates are not verified, because the result is not used to
/// trust the server.
pub async fn identify(base: &str) -> Listener {
    let base = base.trim_end_matches('/');
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build();
    let Ok(client) = client else { return Listener::Unknown };
    let health = client
        .post(format!("{base}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(HEALTH_REQUEST);
    let Ok(response) = health.send().await else {
        return Listener::Unknown;
    };
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if header("content-type").starts_with("application/grpc-web") {
        let is_known = matches!(header("grpc-status"), "" | "0");
        return if is_known { Listener::Grpc } else { Listener::OtherHttp };
    }
    if body_contains(&client, &format!("{base}/readyz"), "\"checks\"").await {
        return Listener::Admin;
    }
    if body_contains(&client, &format!("{base}/"), "Parley").await {
        return Listener::Rest;
    }
    Listener::OtherHttp
}

/// Returns whether the first [`MAX_RESPONSE_BYTES`] of a response contain `text`.
async fn body_contains(client: &reqwest::Client, url: &str, text: &str) -> bool {
    let Ok(mut response) = client.get(url).send().await else {
        return false;
    };
    let mut read = Vec::new();
    while read.len() < MAX_RESPONSE_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk[..chunk.len().min(MAX_RESPONSE_BYTES)]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&read).contains(text)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn unspecified_address_is_contacted_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reachable("[::]:9464"), "[::1]:9464");
        assert_eq!(reachable("10.0.0.1:9464"), "10.0.0.1:9464");
    }

    #[test]
    fn health_request_is_the_encoded_message() {
        let request = tonic_health::pb::HealthCheckRequest {
            service: "parley.v1.AccountsService".to_owned(),
        };
        assert_eq!(HEALTH_REQUEST[5..], request.encode_to_vec());
        assert_eq!(HEALTH_REQUEST[1..5], u32::try_from(HEALTH_REQUEST.len() - 5).unwrap().to_be_bytes());
    }
}
