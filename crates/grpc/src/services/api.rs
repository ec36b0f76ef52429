//! What all services hold.

use std::sync::Arc;

use parley_domain::Chat;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, middleware::limits::Limits};

use super::stall::Stalls;

/// The services over the verbs.
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) chat: Chat,
    pub(crate) config: Config,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stalls: Arc<Stalls>,
    /// Cancelled when streams shall end so that their clients resume elsewhere.
    pub(crate) drain: CancellationToken,
}
