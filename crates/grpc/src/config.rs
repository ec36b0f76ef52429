//! Configuration of the gRPC API. It also applies to the REST gateway, which calls the gRPC API in-process.

use std::{sync::Arc, time::Duration};

use parley_admission::rate_limit::AnonymousLimits;

use crate::middleware::limits::LimitsConfig;

/// Limits and settings of the gRPC API and the REST API.
#[derive(Clone, Debug)]
pub struct Config {
    /// The maximum duration of a unary call.
    pub deadline: Duration,
    /// The maximum size of a decoded request message, in bytes.
    pub max_message_bytes: usize,
    /// How often the token of an open stream is authenticated again.
    pub recheck: Duration,
    /// Rate and concurrency limits.
    pub limits: LimitsConfig,
    /// Limits on callers without a token.
    pub anonymous: Arc<AnonymousLimits>,
    /// The base URL of the front end, with which login links begin.
    pub base_url: String,
    /// The age at which the server asks a stream to reconnect, possibly to another replica. `None` disables rotation.
    pub stream_age: Option<Duration>,
    /// How long events are retained.
    pub retention: Duration,
    /// How long a subscriber may stop reading before its stream is ended.
    pub stall_timeout: Duration,
}
