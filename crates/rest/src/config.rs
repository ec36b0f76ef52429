//! The settings of the JSON API.

use std::sync::Arc;

use parley_admission::{rate_limit::AnonymousLimits, request_memory::RequestMemory};
use tokio_util::sync::CancellationToken;

use crate::{origins::AllowedOrigins, params::form_files::DiscardUploads};

/// The settings of the door.
#[derive(Clone, Debug)]
pub struct Config {
    /// What callers without a token may use.
    pub anonymous: Arc<AnonymousLimits>,
    /// The origins whose pages may call the APIs that take a token.
    pub cors: AllowedOrigins,
    /// Discards uploads that the request of their form did not take.
    pub discard_uploads: DiscardUploads,
    /// Where clients reach this door, such as `https://chat.example.org`. Empty: nowhere in particular.
    pub base_url: String,
    /// Cancelled when connections that stay open shall end.
    pub drain: CancellationToken,
    /// The largest body that is read, in bytes; a larger one is refused with 413.
    pub max_body_bytes: usize,
    /// The memory that the bodies of all requests share.
    pub memory: RequestMemory,
    /// What its listener speaks: `http` or `https`.
    pub scheme: &'static str,
}
