//! The result of a check.

use std::time::Duration;

/// Verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No problem.
    Passed,
    /// Works, but might fail later.
    Warning,
    /// Does not work.
    Failed,
}

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The subject of the check.
    pub subject: &'static str,
    pub verdict: Verdict,
    /// The finding and what to do about it, in plain language and without secrets.
    pub message: String,
}

pub(super) fn passed(subject: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        subject,
        verdict: Verdict::Passed,
        message: message.into(),
    }
}

pub(super) fn warning(subject: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Warning,
        ..passed(subject, message)
    }
}

pub(super) fn failed(subject: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Failed,
        ..passed(subject, message)
    }
}

/// Timeout for responses of other systems.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
