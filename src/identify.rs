//! Identifies the program that listens at an address from its responses. No secrets are sent, and the responses are not trusted.

use std::{net::SocketAddr, time::Duration};

/// Timeout of each request.
const PATIENCE: Duration = Duration::from_secs(3);

/// Maximum number of bytes read from a response.
const ANSWER_BYTES: usize = 64 * 1024;

/// A gRPC-Web frame that contains `HealthCheckRequest { service: "parley.v1.AccountsService" }`.
const HEALTH: &[u8] = b"\0\0\0\0\x1b\x0a\x19parley.v1.AccountsService";

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
    /// Does not respond to HTTP, or requires a client certificate.
    Unknown,
}

/// Returns the address to connect to for a listener that is possibly bound to all interfaces.
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
        .timeout(PATIENCE)
        .build();
    let Ok(client) = client else { return Listener::Unknown };
    let health = client
        .post(format!("{base}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(HEALTH);
    let Ok(answer) = health.send().await else {
        return Listener::Unknown;
    };
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("content-type").starts_with("application/grpc-web") {
        let is_known = matches!(header("grpc-status"), "" | "0");
        return if is_known { Listener::Grpc } else { Listener::OtherHttp };
    }
    if says(&client, &format!("{base}/readyz"), "\"checks\"").await {
        return Listener::Admin;
    }
    if says(&client, &format!("{base}/docs"), "Parley").await {
        return Listener::Rest;
    }
    Listener::OtherHttp
}

/// Returns whether the first [`ANSWER_BYTES`] of a response contain `text`.
async fn says(client: &reqwest::Client, url: &str, text: &str) -> bool {
    let Ok(mut answer) = client.get(url).send().await else {
        return false;
    };
    let mut read = Vec::new();
    while read.len() < ANSWER_BYTES {
        match answer.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES)]),
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
    fn a_listener_on_all_addresses_is_asked_on_the_loopback() {
        assert_eq!(reachable("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reachable("[::]:9464"), "[::1]:9464");
        assert_eq!(reachable("10.0.0.1:9464"), "10.0.0.1:9464");
    }

    #[test]
    fn the_health_request_is_what_its_message_encodes_to() {
        let request = tonic_health::pb::HealthCheckRequest {
            service: "parley.v1.AccountsService".to_owned(),
        };
        assert_eq!(HEALTH[5..], request.encode_to_vec());
        assert_eq!(HEALTH[1..5], u32::try_from(HEALTH.len() - 5).unwrap().to_be_bytes());
    }
}
