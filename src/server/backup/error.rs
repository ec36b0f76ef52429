//! Reasons for refusing to restore an archive.

use parley_storage::Gap;
use thiserror::Error;

/// A reason for refusing to restore an archive.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The database is in use.
    #[error(
        "{0} other connections to the database are open: stop every parley and close other clients, or say --force if they are none of a parley"
    )]
    InUse(i64),
    /// The database contains data.
    #[error("the database holds an account already: restore into an empty one, or replace it with --force")]
    NotEmpty,
    /// The archive is of another database backend.
    #[error("the backup is of {0}, and database.url names {1}: an archive goes back into the kind of database that it came from")]
    OtherBackend(String, &'static str),
    /// The database has migrations that the archive lacks.
    #[error("the database has the migration {0}, which the backup has not: restore into an empty database")]
    Migrated(String),
    /// The archive was written by a newer program.
    #[error("the backup is newer than this parley (it has seen the migration {0}): restore with the newer version")]
    Newer(String),
    /// The archive was written by a program with different migrations.
    #[error(
        "the backup lacks the migration {}, which this parley runs before {}: it is of another line of programs; restore with the one that made it",
        .0.lacks, .0.has
    )]
    Forked(Gap),
    /// The database was migrated by a program with different migrations.
    #[error("the database lacks the migration {}, which this parley runs before {}: restore into an empty database", .0.lacks, .0.has)]
    ForkedTarget(Gap),
    /// The file is not an archive, or is damaged.
    #[error("{0}")]
    Damaged(String),
    /// A signal arrived.
    #[error("stopped by a signal: nothing was changed")]
    Stopped,
    /// Another process is migrating the database or restoring into it.
    #[error("another parley migrates the database or restores a backup into it: wait until it has ended, and try again")]
    Busy,
}

impl BackupError {
    /// The archive is damaged in the given way.
    pub(super) fn damaged(how: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("the archive is damaged: {how}"))
    }

    /// Same as [`BackupError::damaged`], for a small entry that cannot be parsed.
    pub(super) fn entry(name: &str, error: &serde_json::Error) -> Self {
        Self::damaged(format_args!("{name} cannot be read: {error}"))
    }
}
