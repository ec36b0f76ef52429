//! What the operator sets for both APIs.

use std::{sync::Arc, time::Duration};

use parley_admission::rate_limit::AnonymousLimits;

use crate::middleware::limits::LimitsConfig;

/// What both doors limit.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest that a unary call may take.
    pub deadline: Duration,
    /// The largest message that is taken.
    pub max_message_bytes: usize,
    /// How often an open stream asks whether its token is still good.
    pub recheck: Duration,
    /// How much may be asked for at once.
    pub limits: LimitsConfig,
    /// What callers without a token may use.
    pub anonymous: Arc<AnonymousLimits>,
    /// Where browsers reach the front end: login links begin with it.
    pub base_url: String,
    /// After how long a stream shall be resumed, perhaps elsewhere; none: never.
    pub stream_age: Option<Duration>,
    /// How long events are kept.
    pub retention: Duration,
    /// How long a reader may take nothing while there is something to take.
    pub stall_timeout: Duration,
}
