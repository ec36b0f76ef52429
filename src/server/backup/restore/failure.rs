//! Failures of the last step of a restore.

/// A failure of the last step.
pub enum Failure {
    /// The database was not replaced.
    Undone(anyhow::Error),
    /// The database was replaced, or it is not known whether it was.
    Done(anyhow::Error),
}
