//! The result of a check.

use std::time::Duration;

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The check found no problem.
    Passed,
    /// What was checked works, but might fail later.
    Warning,
    /// What was checked does not work.
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

/// How long a check waits for a response of another system.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
