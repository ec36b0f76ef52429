//! How a restore fails at its end.

/// What fails at the end.
pub enum Failure {
    /// Before the database was replaced.
    Undone(anyhow::Error),
    /// Afterwards, or it is not known whether it was.
    Done(anyhow::Error),
}
