//! Rate limits for activities such as creating sessions or uploading files, per client address and per inbox.

use std::{hash::Hash, time::Duration};

use super::{Exceeded, keyed_limiter::Limiter};
use crate::client_address::ClientAddress;

/// The factor by which the rates of an undeclared proxy exceed those of one client address. By default, the rates per inbox are also ten
/// times those per address. Any client can pose as an undeclared proxy, so the limit on open resources is not raised for undeclared
/// proxies.
pub const PROXY_RATE_FACTOR: u32 = 10;

/// Limits on activities and bytes per minute. 0 means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// The number of new sessions.
    pub sessions: u32,
    /// The number of new conversations.
    pub conversations: u32,
    /// The number of calls that count as [`Activity::Message`]: those that create or change a message, and some others.
    pub messages: u32,
    /// The number of uploaded files.
    pub files: u32,
    /// The number of bytes in requests and files.
    pub bytes: u64,
}

impl Rates {
    /// Multiplies all limits by `clients`, for a proxy that forwards the requests of that many clients.
    pub(super) fn times(self, clients: u32) -> Self {
        Self {
            sessions: self.sessions.saturating_mul(clients),
            conversations: self.conversations.saturating_mul(clients),
            messages: self.messages.saturating_mul(clients),
            files: self.files.saturating_mul(clients),
            bytes: self.bytes.saturating_mul(u64::from(clients)),
        }
    }
}

/// An activity that has its own rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Creating a session.
    Session,
    /// Opening a conversation.
    Conversation,
    /// Creating or changing a message, or making another call that notifies subscribers or may write to the database: reporting typing or a
    /// view, resolving a conversation, `GetClientSession`.
    Message,
    /// Uploading a file.
    File,
}

/// The unit in which the rate limiters count bytes.
pub const BYTES_PER_CELL: usize = 1024;

/// One limiter per field of [`Rates`].
#[derive(Debug)]
pub struct Limiters<K: Hash + Eq + Clone> {
    sessions: Limiter<K>,
    conversations: Limiter<K>,
    messages: Limiter<K>,
    files: Limiter<K>,
    pub bytes: Limiter<K>,
}

impl<K: Hash + Eq + Clone> Limiters<K> {
    pub fn new(scope: &'static str, rates: Rates) -> Self {
        let limiter = |quota, count| Limiter::new(scope, quota, u64::from(count), count);
        let cells = u32::try_from(rates.bytes.div_ceil(BYTES_PER_CELL as u64)).unwrap_or(u32::MAX);
        Self {
            sessions: limiter("new sessions a minute", rates.sessions),
            conversations: limiter("new conversations a minute", rates.conversations),
            messages: limiter("messages a minute", rates.messages),
            files: limiter("files a minute", rates.files),
            bytes: Limiter::new(scope, "bytes a minute", rates.bytes, cells),
        }
    }

    pub fn of(&self, activity: Activity) -> &Limiter<K> {
        match activity {
            Activity::Session => &self.sessions,
            Activity::Conversation => &self.conversations,
            Activity::Message => &self.messages,
            Activity::File => &self.files,
        }
    }
}

/// A rate limit per address, which is higher for undeclared proxies.
#[derive(Debug)]
pub struct ByAddress {
    client: Limiter<ClientAddress>,
    proxy: Limiter<ClientAddress>,
}

impl ByAddress {
    pub fn new(quota: &'static str, count: u32) -> Self {
        let limiter = |count: u32| Limiter::new("address", quota, u64::from(count), count);
        Self {
            client: limiter(count),
            proxy: limiter(count.saturating_mul(PROXY_RATE_FACTOR)),
        }
    }

    fn of(&self, address: ClientAddress) -> &Limiter<ClientAddress> {
        match address {
            ClientAddress::Client(_) => &self.client,
            ClientAddress::UndeclaredProxy(_) => &self.proxy,
        }
    }

    pub fn charge(&self, address: ClientAddress) -> Result<(), Exceeded> {
        self.of(address).charge(&address, 1)
    }

    pub fn exceeded(&self, address: ClientAddress, retry_after: Duration) -> Exceeded {
        self.of(address).exceeded(retry_after)
    }
}
