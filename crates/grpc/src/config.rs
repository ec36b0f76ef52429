//! Configuration of the gRPC API. It also applies to the REST gateway, which calls this API.

use std::{sync::Arc, time::Duration};

use parley_admission::rate_limit::AnonymousLimits;

use crate::middleware::limits::LimitsConfig;

/// Limits and settings of both APIs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The maximum duration of a unary call.
    pub deadline: Duration,
    /// The maximum size of a decoded request message, in bytes.
    pub max_message_bytes: usize,
    /// How often an open stream authenticates its token again.
    pub recheck: Duration,
    /// Rate and concurrency limits.
    pub limits: LimitsConfig,
    /// Limits of callers without a token.
    pub anonymous: Arc<AnonymousLimits>,
    /// The base URL of the front end, the prefix of login links.
    pub base_url: String,
    /// The age at which the server asks a stream to reconnect, possibly to another replica. `None` disables rotation.
    pub stream_age: Option<Duration>,
    /// How long events are retained.
    pub retention: Duration,
    /// How long a subscriber may leave data unread before its stream is ended.
    pub stall_timeout: Duration,
}
