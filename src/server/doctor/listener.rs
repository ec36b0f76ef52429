//! Checks the addresses on which a server would listen.

use super::{Finding, failed, passed, warning};
use crate::{
    config::Config,
    identify::{Listener, identify, reachable},
    server::start::{self, StartError},
};

/// Checks whether an address can be bound, or is already used by Parley. Reports the same error as starting the server would.
pub(super) async fn listener(config: &Config, name: &'static str, address: &str) -> Finding {
    let error = match start::bind(name, address).await {
        Ok(_) => return passed(name, format!("{address} is free")),
        Err(error @ StartError::Listen { in_use: true, .. }) => error,
        Err(error) => return failed(name, error.to_string()),
    };
    let is_tls = !config.tls.cert_file.is_empty() && config.tls.listeners.split(',').any(|named| named.trim() == name);
    let scheme = if is_tls { "https" } else { "http" };
    let expected = match name {
        "grpc" => Listener::Grpc,
        "http" => Listener::Rest,
        _ => Listener::Admin,
    };
    match identify(&format!("{scheme}://{}", reachable(address))).await {
        found if found == expected => passed(name, format!("a Parley server already listens at {address}")),
        // The listener requires a client certificate, so it cannot be identified.
        Listener::Unknown if is_tls && !config.tls.client_ca_file.is_empty() => warning(
            name,
            format!("{address} is in use: by a running Parley server, or by another process"),
        ),
        _ => failed(name, error.to_string()),
    }
}
