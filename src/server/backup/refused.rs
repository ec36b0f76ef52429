//! Why an archive is not put back.

use parley_storage::Gap;
use thiserror::Error;

/// Why an archive is not put back.
#[derive(Debug, Error)]
pub enum Refused {
    /// Somebody uses the database.
    #[error(
        "{0} other connections to the database are open: stop every parley and close other clients, or say --force if they are none of a parley"
    )]
    InUse(i64),
    /// It holds data.
    #[error("the database holds an account already: restore into an empty one, or replace it with --force")]
    NotEmpty,
    /// The archive is of another kind of database.
    #[error("the backup is of {0}, and database.url names {1}: an archive goes back into the kind of database that it came from")]
    OtherBackend(String, &'static str),
    /// The database was migrated further than the archive.
    #[error("the database has the migration {0}, which the backup has not: restore into an empty database")]
    Migrated(String),
    /// The archive is of a newer program.
    #[error("the backup is newer than this parley (it has seen the migration {0}): restore with the newer version")]
    Newer(String),
    /// The archive is of a program with other migrations.
    #[error(
        "the backup lacks the migration {}, which this parley runs before {}: it is of another line of programs; restore with the one that made it",
        .0.lacks, .0.has
    )]
    Forked(Gap),
    /// The database was migrated by a program with other migrations.
    #[error("the database lacks the migration {}, which this parley runs before {}: restore into an empty database", .0.lacks, .0.has)]
    ForkedTarget(Gap),
    /// The archive is not one, or not as it was written.
    #[error("{0}")]
    Damaged(String),
    /// A signal came.
    #[error("stopped by a signal: nothing was changed")]
    Stopped,
    /// Another process migrates the database, or restores into it.
    #[error("another parley migrates the database or restores a backup into it: wait until it has ended, and try again")]
    Busy,
}

impl Refused {
    /// An archive that is damaged, and in what way.
    pub(super) fn damaged(how: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("the archive is damaged: {how}"))
    }

    /// As [`Refused::damaged`] for a small entry that is not what it should be.
    pub(super) fn entry(name: &str, error: &serde_json::Error) -> Self {
        Self::damaged(format_args!("{name} cannot be read: {error}"))
    }
}
