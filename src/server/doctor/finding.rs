//! The result of a check.

use std::time::Duration;

/// Verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No problem.
    Good,
    /// Works, but might fail later.
    Doubtful,
    /// Does not work.
    Bad,
}

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The subject of the check.
    pub about: &'static str,
    pub verdict: Verdict,
    /// The finding and what to do about it, in plain language and without secrets.
    pub says: String,
}

pub(super) fn good(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        about,
        verdict: Verdict::Good,
        says: says.into(),
    }
}

pub(super) fn doubtful(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Doubtful,
        ..good(about, says)
    }
}

pub(super) fn bad(about: &'static str, says: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Bad,
        ..good(about, says)
    }
}

/// Timeout for responses of other systems.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
