//! Checks whether the telemetry collectors can be reached.

use tokio::net::TcpStream;

use super::{Finding, TIMEOUT, failed, passed, warning};
use crate::{
    config::{Config, without_password},
    telemetry,
};

/// Checks the endpoints set by the configuration or by OpenTelemetry's standard variables.
pub(super) async fn collectors(config: &Config) -> Vec<Finding> {
    const SUBJECT: &str = "telemetry";
    let endpoints = telemetry::endpoints(&config.trace);
    if endpoints.is_empty() {
        return vec![passed(SUBJECT, "nothing is exported to a collector")];
    }
    let mut found: Vec<Finding> = telemetry::credentials(&config.trace)
        .into_iter()
        .map(|error| failed(SUBJECT, format!("{error:#}")))
        .collect();
    for endpoint in endpoints {
        let shown = without_password(&endpoint);
        let Some((host, port)) = host_and_port(&endpoint) else {
            found.push(failed(
                SUBJECT,
                format!("{shown} is not an address: use http://host:4317 or https://host:4317"),
            ));
            continue;
        };
        found.push(match tokio::time::timeout(TIMEOUT, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => passed(SUBJECT, format!("{shown} accepts connections on port {port}")),
            Ok(Err(error)) => warning(
                SUBJECT,
                format!("{shown} cannot be reached on port {port}, so exported telemetry is lost: {error}"),
            ),
            Err(_) => warning(
                SUBJECT,
                format!("{shown} does not respond on port {port}, so exported telemetry is lost"),
            ),
        });
    }
    found
}

/// Returns the host and port to which the exporters connect. The default port is that of the URL's scheme, not that of OTLP.
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
    fn endpoint_port_defaults_by_scheme() {
        let read = |endpoint| host_and_port(endpoint).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read("http://otel:4317").as_deref(), Some("otel 4317"));
        assert_eq!(read("http://otel").as_deref(), Some("otel 80"));
        assert_eq!(read("https://otel/").as_deref(), Some("otel 443"));
        assert_eq!(read("http://[::1]:4317").as_deref(), Some("::1 4317"));
        assert_eq!(read("unix:///tmp/otel"), None);
        assert_eq!(read("http://"), None);
    }
}
