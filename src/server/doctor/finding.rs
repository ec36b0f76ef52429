//! What a check found.

use std::time::Duration;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Good,
    /// It works, and will not always.
    Doubtful,
    /// It does not work.
    Bad,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at.
    pub about: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what to do, in plain words and without secrets.
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

/// How long anybody else may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
