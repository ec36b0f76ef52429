//! Limits the number of streams, downloads and uploads that one address may have open at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use parley_fault::Protection;

use super::{Exceeded, address_rates::PROXY_RATE_FACTOR, mutex::lock};
use crate::client_address::ClientAddress;

/// The kinds of resources that are counted while they are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A pubsub stream, a WebSocket or a health watch.
    Stream,
    /// A reflection stream.
    Reflection,
    /// A download.
    Download,
    /// An upload.
    Upload,
}

impl Resource {
    /// Returns the name of the quota for this resource.
    fn quota(self) -> &'static str {
        match self {
            Self::Stream => "open streams",
            Self::Reflection => "open reflection streams",
            Self::Download => "open downloads",
            Self::Upload => "open uploads",
        }
    }
}

/// The number of open resources per address and kind. An address that has none open has no entry. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(Arc<Mutex<HashMap<(ClientAddress, Resource), usize>>>);

impl Counts {
    /// Counts an open resource until the permit is dropped. An address may have at most `most` resources of each kind open; 0 means no
    /// limit.
    ///
    /// # Errors
    /// Returns [`Exceeded`] if the address already has the maximum number of resources of this kind open.
    pub fn open(&self, address: Option<ClientAddress>, resource: Resource, most: usize) -> Result<Permit, Exceeded> {
        let key = address.map(|address| (counting_key(address), resource));
        if let Some(key) = key {
            // `counting_key` returns an `UndeclaredProxy` only if a test disables `Protection::ProxyLimits`.
            let most = if matches!(key.0, ClientAddress::UndeclaredProxy(_)) {
                most * PROXY_RATE_FACTOR as usize
            } else {
                most
            };
            let mut open = lock(&self.0);
            let count = open.get(&key).copied().unwrap_or_default();
            if most > 0 && count >= most {
                return Err(Exceeded {
                    scope: "address",
                    quota: resource.quota(),
                    limit: most as u64,
                    retry_after: Duration::from_secs(1),
                });
            }
            open.insert(key, count + 1);
        }
        Ok(Permit { counts: self.clone(), key })
    }
}

/// Returns the address under which an open resource is counted.
fn counting_key(address: ClientAddress) -> ClientAddress {
    if parley_fault::is_on(Protection::ProxyLimits) {
        ClientAddress::Client(address.peer())
    } else {
        address
    }
}

/// Permission to hold a resource open. Dropping it decrements the count.
#[derive(Debug)]
pub struct Permit {
    counts: Counts,
    key: Option<(ClientAddress, Resource)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut open = lock(&self.counts.0);
        if let Some(count) = open.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{AnonymousLimits, Config},
        *,
    };

    #[test]
    fn open_streams_are_counted_while_they_live() {
        let limits = AnonymousLimits::new(Config {
            streams: 2,
            downloads: 1,
            ..Config::default()
        });
        let open = |resource| limits.open(Some(ClientAddress::Client([192, 0, 2, 1].into())), resource);
        let (first, second) = (open(Resource::Stream).unwrap(), open(Resource::Stream).unwrap());
        assert!(open(Resource::Stream).is_err());
        let download = open(Resource::Download).unwrap();
        drop(first);
        assert!(open(Resource::Stream).is_ok());
        drop((second, download));
        assert!(lock(&limits.open.0).is_empty());
    }

    #[test]
    fn untrusted_forwarding_header_has_no_effect() {
        let limits = AnonymousLimits::new(Config {
            uploads: 2,
            ..Config::default()
        });
        let peer = [192, 0, 2, 1].into();
        let open = |address| limits.open(Some(address), Resource::Upload);
        let held = (
            open(ClientAddress::Client(peer)).unwrap(),
            open(ClientAddress::UndeclaredProxy(peer)).unwrap(),
        );
        assert!(open(ClientAddress::UndeclaredProxy(peer)).is_err());
        assert!(open(ClientAddress::Client(peer)).is_err());
        drop(held);
        assert!(lock(&limits.open.0).is_empty());
    }
}
