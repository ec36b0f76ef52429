//! Separates NATS addresses from their credentials: the client accepts credentials only as options, and logs its addresses unchanged.

use anyhow::Context as _;
use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

/// Parses comma-separated addresses, `nats://USER:PASSWORD@HOST:PORT` or `nats://TOKEN@HOST`. All servers of a cluster accept the same
/// credentials, so the credentials of the last address that contains any are used for every server.
///
/// # Errors
/// Returns an error if an address is malformed. The error does not contain the address.
pub fn read(addresses: &str, mut options: ConnectOptions) -> anyhow::Result<(ConnectOptions, Vec<ServerAddr>)> {
    let mut servers = Vec::new();
    for address in addresses.split(',') {
        let mut address = address.trim().parse::<ServerAddr>()?.into_inner();
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().context("credentials must be UTF-8")?;
            anyhow::Ok(text.into_owned())
        };
        options = match (address.username(), address.password()) {
            ("", None) => options,
            (token, None) => options.token(decoded(token)?),
            (user, Some(password)) => options.user_and_password(decoded(user)?, decoded(password)?),
        };
        // Removing credentials fails only for an address that cannot contain any.
        let _ = (address.set_username(""), address.set_password(None));
        servers.push(ServerAddr::from_url(address)?);
    }
    Ok((options, servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_removed_from_addresses() {
        let addresses = "nats://ana:p%40ss%2Fword@one:4222, tls://two";
        let (options, servers) = read(addresses, ConnectOptions::new()).unwrap();
        let debug = format!("{servers:?}");
        assert_eq!(servers.len(), 2);
        assert!(debug.contains("one") && debug.contains("two"), "{debug}");
        assert!(
            !debug.contains("ana") && !debug.contains("%2Fword") && !debug.contains("s/word"),
            "{debug}"
        );
        drop(options);
        let (_, servers) = read("nats://a-token@one", ConnectOptions::new()).unwrap();
        assert!(!format!("{servers:?}").contains("a-token"));
        assert!(read("nats://ana:secret@[::1", ConnectOptions::new()).is_err());
    }
}
