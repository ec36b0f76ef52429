//! The state that all services share.

use std::sync::Arc;

use parley_domain::Chat;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, middleware::limits::Limits};

use super::stall::StallMonitor;

/// Implements the gRPC services on top of the domain commands.
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) chat: Chat,
    pub(crate) config: Config,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stalls: Arc<StallMonitor>,
    /// Cancelled on shutdown: open streams end, and their clients resume on another replica.
    pub(crate) drain: CancellationToken,
}
