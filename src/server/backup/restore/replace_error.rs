//! Failures of the last step of a restore: replacing the database.

/// A failure to replace the database, which is the last step of a restore.
pub enum ReplaceError {
    /// The database was not replaced.
    NotReplaced(anyhow::Error),
    /// The database was replaced, or it is not known whether it was.
    Replaced(anyhow::Error),
}
