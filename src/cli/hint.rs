//! Diagnoses why a connection to a service failed: wrong address, wrong port, or TLS. All of these problems are permanent, so retrying does
//! not help.

use std::{error::Error as StdError, io, time::Duration};

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::Status;

use crate::identify::{Listener, identify};

/// Timeout of each attempt to connect.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a TLS server to reject a plain-text request.
const TLS_ALERT_TIMEOUT: Duration = Duration::from_secs(2);

/// The first byte of every TLS alert record.
const TLS_ALERT: u8 = 0x15;

/// Returns what is wrong with the address or with TLS, or `None` if neither caused the failure. `status` is the status with which a call to
/// `server` failed; it must not have been returned by Parley itself.
pub async fn for_status(status: &Status, server: &str) -> Option<String> {
    if let Some(error) = causes(status).find_map(|cause| cause.downcast_ref::<TlsError>()) {
        return Some(format!("{server}: {}", tls_hint(error)));
    }
    let uri: http::Uri = server.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = match timeout(TIMEOUT, TcpStream::connect((host, port))).await {
        Err(_) => {
            return Some(format!(
                "{server}: no response within {} seconds: check the host, and any firewall in between",
                TIMEOUT.as_secs()
            ));
        }
        Ok(Err(error)) => return Some(format!("{server}: {}", connection_hint(&error, host, port))),
        Ok(Ok(stream)) => stream,
    };
    if !is_tls && speaks_tls(stream).await {
        return Some(format!("{server}: the server requires TLS: begin --server with https://"));
    }
    match identify(server).await {
        Listener::Rest => Some(format!(
            "{server}: this is the port of the JSON API; --server requires the gRPC port (grpc.addr, 50051 by default)"
        )),
        Listener::Admin => Some(format!(
            "{server}: this is the admin port; --server requires the gRPC port (grpc.addr, 50051 by default)"
        )),
        Listener::OtherHttp => Some(format!("{server}: a service other than Parley responds there: check the port")),
        // A plain-text server might close the connection silently when it receives a TLS handshake, so also try plain text.
        Listener::Unknown if is_tls => match identify(&server.replacen("https", "http", 1)).await {
            Listener::Unknown => None,
            _ => Some(format!("{server}: the server does not use TLS: begin --server with http://")),
        },
        Listener::Grpc | Listener::Unknown => None,
    }
}

/// Returns the causes of a status, outermost first. `io::Error::source` skips the wrapped error itself, so this function unwraps it
/// explicitly.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |&cause| match cause.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => cause.source(),
    })
}

fn connection_hint(error: &io::Error, host: &str, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!(
                "nothing listens on port {port} of {host}: check that the service is running and that this is the gRPC port (grpc.addr)"
            )
        }
        // Errors of the name resolver are recognized by their missing OS error code, because they have no error kind of their own.
        _ if error.raw_os_error().is_none() => format!("the host {host} is unknown: {error}"),
        _ => error.to_string(),
    }
}

fn tls_hint(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the server's certificate is signed by an untrusted authority: pass the authority's PEM file with --ca-file".to_owned()
        }
        TlsError::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "the server's certificate is for another name: use that name in --server, or pass it with --server-name".to_owned()
        }
        TlsError::InvalidCertificate(reason) => format!("the server's certificate is rejected: {reason}"),
        TlsError::InvalidMessage(_) => "the server does not use TLS: begin --server with http://".to_owned(),
        TlsError::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate) => {
            "the server requires a client certificate: pass --client-cert-file and --client-key-file".to_owned()
        }
        TlsError::AlertReceived(AlertDescription::UnknownCA) => {
            "the server does not trust the client certificate: use one signed by its tls.client_ca_file".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

/// Returns whether the server answers plain text with a TLS alert.
async fn speaks_tls(mut stream: TcpStream) -> bool {
    let probe = async {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: parley\r\nconnection: close\r\n\r\n")
            .await?;
        stream.read_u8().await
    };
    matches!(timeout(TLS_ALERT_TIMEOUT, probe).await, Ok(Ok(TLS_ALERT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_errors_name_the_option() {
        for (error, option) in [
            (TlsError::InvalidCertificate(CertificateError::UnknownIssuer), "--ca-file"),
            (TlsError::InvalidCertificate(CertificateError::NotValidForName), "--server-name"),
            (TlsError::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "http://"),
            (TlsError::AlertReceived(AlertDescription::CertificateRequired), "--client-cert-file"),
        ] {
            assert!(tls_hint(&error).contains(option), "{error}");
        }
    }
}
