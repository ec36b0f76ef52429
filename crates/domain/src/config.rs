//! The configuration of the domain.

/// The configuration of the domain.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether e-mails can be sent.
    pub mails: bool,
    /// Maximum number of concurrent searches. Eight times as many can wait.
    pub concurrent_searches: usize,
}
