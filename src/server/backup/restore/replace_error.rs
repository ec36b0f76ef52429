//! Failures of the last step of a restore.

/// A failure of the last step.
pub enum ReplaceError {
    /// The database was not replaced.
    NotReplaced(anyhow::Error),
    /// The database was replaced, or it is not known whether it was.
    Replaced(anyhow::Error),
}
