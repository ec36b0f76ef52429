//! Configuration of the REST gateway.

use std::sync::Arc;

use parley_admission::{rate_limit::AnonymousLimits, request_memory::RequestMemory};
use tokio_util::sync::CancellationToken;

use crate::{origins::AllowedOrigins, params::form_files::DiscardUploads};

/// The configuration of the REST gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Limits on callers without a token.
    pub anonymous: Arc<AnonymousLimits>,
    /// The origins whose pages may call the APIs that require a token.
    pub cors: AllowedOrigins,
    /// Deletes files that were uploaded with a form but that the request did not use.
    pub discard_uploads: DiscardUploads,
    /// The public base URL of the REST gateway, such as `https://chat.example.org`. Empty if unknown.
    pub base_url: String,
    /// Cancelled on shutdown, to close long-lived connections.
    pub drain: CancellationToken,
    /// The maximum size of a request body in bytes. A larger body is rejected with status 413.
    pub max_body_bytes: usize,
    /// The memory budget shared by all requests.
    pub memory: RequestMemory,
    /// The URL scheme of the listener: `http` or `https`.
    pub scheme: &'static str,
}
