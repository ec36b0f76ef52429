//! Putting an archive back: into an empty database, with no server on it, and with another epoch.

use std::path::Path;

use anyhow::{Context as _, bail};
use parley_blobs::Storage;
use parley_storage::{Database, Gap, copy::Source, sqlite_file};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::{COMPLETE, Complete, FILES, FORM, MANIFEST, Manifest, archive::Reader, files::Restoring};
use crate::{config::Config, server::rooms};

mod into_postgres;
mod into_sqlite;

/// The most that the small entries of an archive have.
pub(super) const SMALL: usize = 4 * 1024 * 1024;

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
    fn entry(name: &str, error: &serde_json::Error) -> Self {
        Self::damaged(format_args!("{name} cannot be read: {error}"))
    }
}

/// What was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Logs that have another epoch.
    pub logs: u64,
    /// Files, and those that were missing when the archive was made.
    pub files: Complete,
}

/// Puts an archive back. The database is replaced at once, at the end. What fails or is stopped before removes what it created; the tables of an
/// empty PostgreSQL database stay, without rows. From then on nothing is stopped.
///
/// # Errors
/// [`Refused`]; [`parley_storage::OpenError`]; when the archive is damaged or something cannot be written. The database and what the store had are then as
/// they were, unless the message says that the database was restored.
pub async fn restore(config: &Config, archive: &Path, force: bool, stop: &CancellationToken) -> anyhow::Result<Restored> {
    #[cfg(feature = "faults")]
    parley_fault::turn_off(&config.fault.switch);
    let storage = Storage::new(&rooms::storage(config)).context("files.url")?;
    let mut files = Restoring::into(storage);
    let loading = Box::pin(load(config, archive, force, &mut files));
    let loaded = stop.run_until_cancelled(loading).await;
    let replaced = match loaded.unwrap_or_else(|| bail!(Refused::Stopped)) {
        Ok((loaded, complete)) => loaded.replace(config).await.map(|logs| Restored { logs, files: complete }),
        Err(error) => Err(Failure::Undone(error)),
    };
    match replaced {
        Ok(restored) => files.finish().await.map(|()| restored),
        Err(Failure::Undone(error)) => {
            files.remove().await;
            Err(error)
        }
        Err(Failure::Done(error)) => {
            // The files belong to the database. What ended the restore is what the operator has to know first.
            if let Err(files) = files.finish().await {
                tracing::error!(error = format!("{files:#}"), "the files of the restore are not all in place");
            }
            Err(error)
        }
    }
}

/// What fails at the end.
enum Failure {
    /// Before the database was replaced.
    Undone(anyhow::Error),
    /// Afterwards, or it is not known whether it was.
    Done(anyhow::Error),
}

/// A database that takes the place of another by one step.
enum Loaded {
    Sqlite(into_sqlite::Loaded),
    Postgres(Box<into_postgres::Loaded>),
}

impl Loaded {
    /// Takes the step; how many logs there are.
    async fn replace(self, config: &Config) -> Result<u64, Failure> {
        match self {
            Self::Sqlite(loaded) => loaded.replace().await,
            Self::Postgres(loaded) => loaded.replace(config).await,
        }
    }
}

/// Everything before the step: reads the whole archive.
async fn load(config: &Config, archive: &Path, force: bool, files: &mut Restoring) -> anyhow::Result<(Loaded, Complete)> {
    let mut reader = Reader::from(archive);
    let manifest = manifest(&mut reader).await?;
    let backend = if config.database.url.starts_with("postgres") {
        "postgresql"
    } else {
        "sqlite"
    };
    if manifest.database.backend != backend {
        bail!(Refused::OtherBackend(manifest.database.backend, backend));
    }
    of_this_line(&manifest.database)?;
    match sqlite_file(&config.database.url) {
        Some(file) => {
            let (loaded, complete) = into_sqlite::load(config, &file, &mut reader, files, force).await?;
            Ok((Loaded::Sqlite(loaded), complete))
        }
        None if backend == "postgresql" => {
            let (loaded, complete) = into_postgres::load(config, manifest.database, &mut reader, files, force).await?;
            Ok((Loaded::Postgres(Box::new(loaded)), complete))
        }
        None => bail!("a database in memory cannot be restored"),
    }
}

/// Makes sure that the database of a backup has the first migrations of this program, by their names.
///
/// # Errors
/// [`Refused::Newer`]; [`Refused::Forked`].
fn of_this_line(database: &Source) -> Result<(), Refused> {
    if let Some(migration) = Database::unknown_migration(&database.migrations) {
        return Err(Refused::Newer(migration));
    }
    Database::gap(&database.migrations).map_or(Ok(()), |gap| Err(Refused::Forked(gap)))
}

async fn manifest(reader: &mut Reader) -> anyhow::Result<Manifest> {
    let first = reader.entry().await?;
    if first.is_none_or(|(name, _)| name != MANIFEST) {
        bail!(Refused::Damaged("the file is no archive of `parley backup`".to_owned()));
    }
    let manifest: Manifest = serde_json::from_slice(&reader.whole(SMALL).await?).map_err(|error| Refused::entry(MANIFEST, &error))?;
    if manifest.form != FORM {
        let text = format!("the archive has the form {}, and this parley reads form {FORM}", manifest.form);
        bail!(Refused::Damaged(text));
    }
    Ok(manifest)
}

/// What an entry beside the database was.
enum Beside {
    /// A file, which is in the store now.
    File,
    /// The end of the archive.
    End(Complete),
    /// None of both. Nothing of it was read.
    Other,
}

/// Puts a file back, or reads the end of the archive.
async fn beside_the_database(reader: &mut Reader, name: &str, files: &mut Restoring) -> anyhow::Result<Beside> {
    if name == COMPLETE {
        let complete: Complete = serde_json::from_slice(&reader.whole(SMALL).await?).map_err(|error| Refused::entry(COMPLETE, &error))?;
        if complete.files != files.count() {
            bail!(Refused::damaged(format_args!(
                "it has {} files of {}",
                files.count(),
                complete.files
            )));
        }
        return Ok(Beside::End(complete));
    }
    let Some(file) = name.strip_prefix(FILES) else {
        return Ok(Beside::Other);
    };
    files.store(file, reader).await?;
    Ok(Beside::File)
}
