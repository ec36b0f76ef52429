//! Determines the client address to which a request without a token is charged.
//!
//! The listener determines the address once per request and stores it as a request extension. The gateway passes the extension on to the
//! gRPC call that it makes in-process, so both APIs use the same value.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The `X-Forwarded-For` header, to which most proxies append the address of their client.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The `Forwarded` header, which RFC 7239 standardizes as the replacement for `X-Forwarded-For`.
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Maximum number of entries that are read from the right of a forwarding header. Chains of trusted proxies are short, and the client could
/// have written everything to the left of them.
const MAX_HOPS: usize = 16;

/// The origin of a request, for rate limits. An IPv6 address is reduced to its /64, which is usually assigned to one site or customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientAddress {
    /// The address of the client, or the /64 network of an IPv6 client, which it may share with others.
    Client(IpAddr),
    /// A proxy that `limits.trusted_proxies` does not name. The request has a forwarding header, but any client can send such a header, so
    /// neither the header nor the peer identifies the client. The limits per inbox apply, and everything from this peer shares one set of
    /// higher rates.
    UndeclaredProxy(IpAddr),
}

impl ClientAddress {
    /// Returns the address or /64 network of the client or of the undeclared proxy, without the distinction between the two.
    pub fn peer(self) -> IpAddr {
        match self {
            Self::Client(address) | Self::UndeclaredProxy(address) => address,
        }
    }
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(address) => write!(f, "{address}"),
            Self::UndeclaredProxy(address) => write!(f, "undeclared proxy {address}"),
        }
    }
}

/// The proxies whose forwarding headers are trusted. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    /// Whether the warning about an undeclared proxy was already logged. It is logged only once.
    warned: Arc<AtomicBool>,
}

impl TrustedProxies {
    /// Parses comma-separated addresses and networks, such as `10.0.0.0/8, 2001:db8::1`. With an empty string, no proxy is trusted.
    ///
    /// # Errors
    /// Returns the entry that is neither an address nor a network.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let networks = entries.map(|entry| {
            let network = entry.parse::<IpNet>().ok();
            network
                .or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))
                .ok_or_else(|| entry.to_owned())
        });
        Ok(Self {
            networks: networks.collect::<Result<Vec<_>, _>>()?.into(),
            warned: Arc::default(),
        })
    }

    /// Returns whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns the address to which a connection from this peer is charged, or `None` if the peer is a trusted proxy, whose connections
    /// carry requests from many clients.
    pub fn peer(&self, peer: SocketAddr) -> Option<IpAddr> {
        let peer = peer.ip().to_canonical();
        (!self.trusts(peer)).then(|| network_of(peer))
    }

    /// Returns the address to which a request from this peer with these headers is charged. Behind a trusted proxy, this is the right-most
    /// forwarding entry that is not itself a trusted proxy: a trusted proxy wrote that entry, so the client cannot have forged it.
    pub fn resolve(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddress {
        let peer = peer.ip().to_canonical();
        let is_forwarded = headers.contains_key(&X_FORWARDED_FOR) || headers.contains_key(&FORWARDED);
        if !is_forwarded {
            return ClientAddress::Client(network_of(peer));
        }
        if self.is_empty() {
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    %peer,
                    "a request contains X-Forwarded-For or Forwarded, but limits.trusted_proxies is empty: such requests are limited per \
                     inbox and per proxy, not per client address"
                );
            }
            return ClientAddress::UndeclaredProxy(network_of(peer));
        }
        if !self.trusts(peer) {
            // The peer is not a trusted proxy, so the client wrote the header itself.
            return ClientAddress::Client(network_of(peer));
        }
        let by_x = self.right_most(peer, headers, &X_FORWARDED_FOR);
        let by_rfc = self.right_most(peer, headers, &FORWARDED);
        let client = match (by_x, by_rfc) {
            // A proxy that sets one of the two forwarding headers passes the other one on as the client wrote it. If the two disagree,
            // charge the proxy: all clients that send such requests share its quota.
            (Some(one), Some(other)) if one != other => peer,
            (Some(one), _) | (None, Some(one)) => one,
            (None, None) => peer,
        };
        ClientAddress::Client(network_of(client))
    }

    /// Returns the right-most address in the header that is not a trusted proxy. If every address is trusted or an entry cannot be parsed,
    /// returns the last hop that is known. Returns `None` if the header is absent.
    fn right_most(&self, peer: IpAddr, headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
        let mut nearest = None;
        let values = headers.get_all(name).into_iter().rev();
        let entries = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for entry in entries.take(MAX_HOPS) {
            let entry = if *name == FORWARDED { forwarded_for(entry) } else { Some(entry) };
            // An entry that cannot be parsed makes all entries to its left unreliable. The hop that wrote it is known, so charge that hop.
            let Some(address) = entry.and_then(address) else {
                return Some(nearest.unwrap_or(peer));
            };
            if !self.trusts(address) {
                return Some(address);
            }
            nearest = Some(address);
        }
        nearest
    }
}

/// Reduces an IPv6 address to its /64 network. Returns an IPv4 address unchanged.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Returns the value of the `for` parameter in one element of a `Forwarded` header.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// Parses an address with or without a port, as proxies write it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn resolve(trusted: &str, peer: &str, pairs: &[(&'static str, &str)]) -> String {
        let peer = SocketAddr::new(peer.parse().unwrap(), 1000);
        let proxies = TrustedProxies::parse(trusted).unwrap();
        proxies.resolve(peer, &headers(pairs)).to_string()
    }

    #[test]
    fn uses_the_peer_without_a_proxy_and_groups_ipv6() {
        assert_eq!(resolve("", "192.0.2.7", &[]), "192.0.2.7");
        assert_eq!(resolve("", "::ffff:192.0.2.7", &[]), "192.0.2.7");
        assert_eq!(resolve("", "2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::");
        assert_eq!(
            resolve("", "10.0.0.1", &[("x-forwarded-for", "192.0.2.7")]),
            "undeclared proxy 10.0.0.1"
        );
    }

    #[test]
    fn takes_the_rightmost_untrusted_address() {
        let from = |pairs: &[(&'static str, &str)]| resolve("10.0.0.0/8, 2001:db8::/32", "10.0.0.1", pairs);
        assert_eq!(from(&[("x-forwarded-for", "192.0.2.7")]), "192.0.2.7");
        assert_eq!(from(&[("x-forwarded-for", "1.1.1.1, 192.0.2.7:4711, 10.9.9.9")]), "192.0.2.7");
        assert_eq!(
            from(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7")]),
            "192.0.2.7"
        );
        assert_eq!(from(&[("x-forwarded-for", "1.1.1.1, unknown, 10.2.2.2")]), "10.2.2.2");
        assert_eq!(from(&[("x-forwarded-for", "nonsense")]), "10.0.0.1");
        assert_eq!(
            from(&[("forwarded", "for=1.1.1.1, For=\"[2606:4700::7]:80\";proto=https")]),
            "2606:4700::"
        );
        assert_eq!(from(&[("forwarded", "proto=https")]), "10.0.0.1");
        // The proxy sets one header and passes the other one on as the client wrote it.
        assert_eq!(from(&[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "192.0.2.7")]), "10.0.0.1");
    }

    #[test]
    fn ignores_headers_of_untrusted_peers() {
        assert_eq!(resolve("10.0.0.0/8", "192.0.2.9", &[("x-forwarded-for", "1.1.1.1")]), "192.0.2.9");
    }

    #[test]
    fn reports_the_invalid_network_entry() {
        assert_eq!(TrustedProxies::parse("10.0.0.0/8, ten").unwrap_err(), "ten");
        assert!(TrustedProxies::parse(" ").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn entries_of_the_client_do_not_change_the_address(x in "[ -~]{0,200}", rfc in "[ -~]{0,200}") {
            // The client cannot choose the charged address by writing entries to the left of the proxy's own.
            let x = format!("{x},192.0.2.7");
            prop_assert_eq!(resolve("10.0.0.0/8", "10.0.0.1", &[("x-forwarded-for", &x)]), "192.0.2.7");
            resolve("10.0.0.0/8", "10.0.0.1", &[("x-forwarded-for", &x), ("forwarded", &rfc)]);
        }
    }
}
