//! What the services share apart from the domain.

use std::sync::Arc;

use parley_domain::auth::tokens::Tokens;
use parley_eventlog::Events;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, middleware::limits::Limits};

use super::stall::StallMonitor;

/// What the services share apart from the domain: the configuration, the limits, and what streams need.
#[derive(Debug)]
pub struct ServiceContext {
    pub(crate) config: Config,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stalls: Arc<StallMonitor>,
    /// The event log, which counts all open streams.
    pub(crate) events: Events,
    /// Authenticates the token of an open stream again.
    pub(crate) tokens: Tokens,
    /// Cancelled when streams must end so that their clients resume elsewhere.
    pub(crate) drain: CancellationToken,
}
