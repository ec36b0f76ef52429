//! Limits the connections of each client address, so that one address cannot use up the connections of the public listeners.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, metrics::Counter};
use parley_admission::client_address::TrustedProxies;
use parley_fault::Protection;
use parley_telemetry::names::{self, meter};

/// Minimum interval between two log lines about refused connections.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

static REJECTED: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter(names::CALLS_REJECTED).with_unit("{call}").build());

/// Counts the open connections of each address, across both public listeners.
#[derive(Debug)]
pub struct PerAddress {
    /// Maximum number of connections per address. 0 means unlimited.
    max_connections: usize,
    proxies: TrustedProxies,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of connections by address. Addresses without open connections are removed, so there are at most as many entries as
    /// connections.
    open: HashMap<IpAddr, usize>,
    logged: Option<Instant>,
}

impl PerAddress {
    /// Permits `max_connections` connections from each address; 0 means unlimited. The addresses of `proxies` are exempt, because a proxy
    /// serves many clients.
    pub fn new(max_connections: usize, proxies: TrustedProxies) -> Arc<Self> {
        let is_on = parley_fault::is_on(Protection::ConnectionsPerAddress);
        Arc::new(Self {
            max_connections: if is_on { max_connections } else { 0 },
            proxies,
            state: Mutex::default(),
        })
    }

    /// Counts a connection from `peer` until the permit is dropped. Returns `None` if the address has reached the limit.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr) -> Option<Permit> {
        let address = self.proxies.peer(peer).filter(|_| self.max_connections > 0);
        let Some(address) = address else {
            return Some(Permit(None));
        };
        let mut state = self.state();
        let count = state.open.entry(address).or_default();
        if *count >= self.max_connections {
            let now = Instant::now();
            let is_due = state.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_INTERVAL);
            if is_due {
                state.logged = Some(now);
            }
            drop(state);
            REJECTED.add(1, &[KeyValue::new(names::REASON, "connections")]);
            if is_due {
                tracing::warn!(
                    %address,
                    most = self.max_connections,
                    "closed a connection: its address has reached limits.connections_per_address; if it is a proxy, add it to limits.trusted_proxies"
                );
            }
            return None;
        }
        *count += 1;
        drop(state);
        Some(Permit(Some((Arc::clone(self), address))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection, counted until this permit is dropped. Contains `None` if the address is not limited.
#[derive(Debug)]
pub struct Permit(Option<(Arc<PerAddress>, IpAddr)>);

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((connections, address)) = self.0.take() else { return };
        let mut state = connections.state();
        if let Some(count) = state.open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, port: u16) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), port)
    }

    #[test]
    fn limits_connections_per_address() {
        let connections = PerAddress::new(2, TrustedProxies::parse("10.0.0.0/8").unwrap());
        let admit = |address, port| connections.admit(peer(address, port));
        for (first, same, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", "2001:db8:1:3::1"),
            ("192.0.2.9", "::ffff:192.0.2.9", "::ffff:192.0.2.10"),
        ] {
            let held = (admit(first, 1).unwrap(), admit(same, 2).unwrap());
            assert!(admit(first, 3).is_none() && admit(same, 3).is_none(), "{first}");
            assert!(admit(other, 3).is_some(), "{other}");
            drop(held.0);
            assert!(admit(same, 4).is_some(), "{first}");
        }
        assert!(connections.state().open.is_empty());
        let of_proxy: Vec<_> = (0..100).map(|port| admit("10.1.1.1", port)).collect();
        assert!(of_proxy.iter().all(Option::is_some));
        let unlimited = PerAddress::new(0, TrustedProxies::default());
        let all: Vec<_> = (0..100).map(|port| unlimited.admit(peer("192.0.2.1", port))).collect();
        assert!(all.iter().all(Option::is_some));
    }
}
