//! `parley healthcheck`: a health check for containers without curl.

use std::time::Duration;

use parley_client::TlsSettings;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Exit, Settings, connect::TrustArgs, print_error, probe};
use crate::{config, identify::reachable};

/// Timeout of a check: half of the ten seconds that orchestrators commonly allow.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of bytes read from the response.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Check this host:port (default: the address in the configuration)
    #[arg(long, value_name = "ADDR")]
    addr: Option<String>,
    /// Check gRPC health on the gRPC port instead of /readyz on the admin port
    #[arg(long)]
    grpc: bool,
    /// Use TLS; without --addr, TLS is also used if the configuration enables it. On the admin port the certificate is verified only with
    /// --ca-file
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    settings: Settings,
}

pub(super) async fn run(args: Args) -> Exit {
    let (addr, tls) = match (args.addr, args.settings.load()) {
        (Some(addr), _) => (addr, args.tls),
        (None, Ok(config)) => {
            let (listener, addr) = if args.grpc {
                ("grpc", config.grpc.addr)
            } else {
                ("admin", config.admin.addr)
            };
            (reachable(&addr), args.tls || uses_tls(&config.tls, listener))
        }
        (None, Err(error)) => {
            print_error(&error.to_string());
            return Exit::Config;
        }
    };
    let check = async {
        let trust = args.trust.read().map_err(anyhow::Error::msg)?;
        if args.grpc {
            check_serving(&addr, tls, &trust).await
        } else if tls {
            let stream = TcpStream::connect(&addr).await?;
            check_ready(probe::connect_tls(stream, &addr, &trust).await?, &addr).await
        } else {
            check_ready(TcpStream::connect(&addr).await?, &addr).await
        }
    };
    match tokio::time::timeout(TIMEOUT, check).await {
        Ok(Ok(())) => Exit::Ok,
        Ok(Err(error)) => {
            print_error(&format!("{addr}: {error:#}"));
            Exit::Failure
        }
        Err(_) => {
            print_error(&format!("{addr}: no response within {} seconds", TIMEOUT.as_secs()));
            Exit::Failure
        }
    }
}

/// Returns whether the configuration enables TLS for a listener.
fn uses_tls(config: &config::Tls, listener: &str) -> bool {
    !config.cert_file.is_empty() && config.listeners.split(',').any(|name| name.trim() == listener)
}

/// Sends `GET /readyz` and checks the response, without an HTTP client library, which would be the largest part of this command.
async fn check_ready(mut stream: impl AsyncRead + AsyncWrite + Unpin, addr: &str) -> anyhow::Result<()> {
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response).await?;
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        Some(status) => anyhow::bail!("not ready, HTTP {status}: {}", body.trim()),
        None => anyhow::bail!("does not speak HTTP"),
    }
}

async fn check_serving(addr: &str, tls: bool, trust: &TlsSettings) -> anyhow::Result<()> {
    let scheme = if tls { "https" } else { "http" };
    let endpoint = trust
        .apply(Endpoint::from_shared(format!("{scheme}://{addr}"))?)
        .map_err(anyhow::Error::msg)?;
    let channel = endpoint.connect().await?;
    let mut client = HealthClient::new(channel);
    let response = client.check(HealthCheckRequest::default()).await?.into_inner();
    anyhow::ensure!(response.status() == ServingStatus::Serving, "not serving");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readyz_response_decides() {
        let (sender, receiver) = tokio::sync::watch::channel(crate::admin::Readiness::waiting_for(&["database"]));
        let router = crate::admin::router(prometheus::Registry::new(), receiver);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(axum::serve(listener, router).into_future());
        let ask = async || check_ready(TcpStream::connect(&addr).await.unwrap(), &addr).await;
        let error = ask().await.unwrap_err().to_string();
        assert!(error.starts_with("not ready, HTTP 503: ") && error.contains("database"), "{error}");
        sender.send_if_modified(|readiness| readiness.set("database", Ok(())));
        ask().await.unwrap();
    }
}
