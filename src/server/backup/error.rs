//! Reasons for refusing to restore an archive.

use parley_storage::Gap;
use thiserror::Error;

/// A reason for refusing to restore an archive.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The database is in use.
    #[error(
        "{0} other connections to the database are open: stop all Parley processes and close other clients, or pass --force if none of them belongs to Parley"
    )]
    InUse(i64),
    /// The database contains data.
    #[error("the database already contains an account: restore into an empty one, or replace it with --force")]
    NotEmpty,
    /// The archive was created from a different database backend.
    #[error("the backup is of {0}, but database.url names {1}: an archive can only be restored into the same kind of database")]
    OtherBackend(String, &'static str),
    /// The database has migrations that the archive lacks.
    #[error("the database has the migration {0}, which the backup lacks: restore into an empty database")]
    Migrated(String),
    /// The archive was written by a newer version of Parley.
    #[error("the backup is newer than this version of Parley (it has the migration {0}): restore it with the newer version")]
    Newer(String),
    /// The archive was written by a version of Parley with different migrations.
    #[error(
        "the backup lacks the migration {}, which this version of Parley runs before {}: it is from another line of versions; restore it with the version that created it",
        .0.lacks, .0.has
    )]
    Forked(Gap),
    /// The database was migrated by a version of Parley with different migrations.
    #[error("the database lacks the migration {}, which this version of Parley runs before {}: restore into an empty database", .0.lacks, .0.has)]
    ForkedTarget(Gap),
    /// The file is not an archive, or is damaged.
    #[error("{0}")]
    Damaged(String),
    /// A signal stopped the restore.
    #[error("stopped by a signal: nothing was changed")]
    Stopped,
    /// Another process is migrating the database or restoring into it.
    #[error("another Parley process is migrating the database or restoring a backup into it: wait until it has finished, and try again")]
    Busy,
}

impl BackupError {
    /// Returns the error for an archive that is damaged in the given way.
    pub(super) fn damaged(how: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("the archive is damaged: {how}"))
    }

    /// Returns the error for an archive with a small entry that cannot be parsed.
    pub(super) fn entry(name: &str, error: &serde_json::Error) -> Self {
        Self::damaged(format_args!("{name} cannot be read: {error}"))
    }
}
