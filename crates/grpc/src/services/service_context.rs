//! The dependencies that all services share, apart from the domain.

use std::sync::Arc;

use parley_domain::auth::tokens::Tokens;
use parley_eventlog::Events;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, middleware::limits::Limits};

use super::stall::StallMonitor;

/// The dependencies that all services share, apart from the domain: the configuration, the limits, and the dependencies of streams.
#[derive(Debug)]
pub struct ServiceContext {
    pub(crate) config: Config,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stalls: Arc<StallMonitor>,
    /// The event log, which counts all open streams.
    pub(crate) events: Events,
    /// Re-authenticates the tokens of open streams.
    pub(crate) tokens: Tokens,
    /// Cancelled when streams must end so that their clients resume elsewhere.
    pub(crate) drain: CancellationToken,
}
