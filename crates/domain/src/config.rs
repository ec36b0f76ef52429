//! Settings for the domain operations.

/// The settings that the domain operations depend on.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether e-mails can be sent.
    pub mails: bool,
    /// Maximum number of concurrent searches. Up to eight times as many searches can wait in the queue.
    pub concurrent_searches: usize,
}
