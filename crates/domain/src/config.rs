//! The settings of the domain.

/// The settings of the domain.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether e-mails are sent.
    pub mails: bool,
    /// Searches that run at once; eight times as many may wait.
    pub concurrent_searches: usize,
}
