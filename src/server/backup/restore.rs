//! Restores an archive into an empty database that no server uses, and starts a new epoch for every log.

use std::path::Path;

use anyhow::{Context as _, bail};
use parley_blobs::Storage;
use parley_storage::sqlite_file;
use tokio_util::sync::CancellationToken;

use super::{
    archive::Reader,
    files::Restoring,
    manifest::{Complete, FORM, MANIFEST, Manifest, of_this_line},
    refused::Refused,
};
use crate::{config::Config, server::rooms};

mod entries;
mod failure;
mod into_postgres;
mod into_sqlite;

use entries::SMALL;
use failure::Failure;

/// The result of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Number of logs, all of which have a new epoch.
    pub logs: u64,
    /// Number of restored files, and of those that were missing when the archive was written.
    pub files: Complete,
}

/// Restores an archive. The database is replaced in a single step at the end. A failure or `stop` before that step removes what was
/// created; in an empty PostgreSQL database, the tables remain, without rows. After that step, `stop` has no effect.
///
/// # Errors
/// Returns [`Refused`], [`parley_storage::OpenError`], or an error if the archive is damaged or something cannot be written. The database
/// and the store are then unchanged, unless the message says that the database was restored.
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
            // The files belong to the restored database. Only log a failure here, because the error that ended the restore matters more to
            // the operator.
            if let Err(files) = files.finish().await {
                tracing::error!(error = format!("{files:#}"), "the files of the restore are not all in place");
            }
            Err(error)
        }
    }
}

/// A database that is ready to replace another in a single step.
enum Loaded {
    Sqlite(into_sqlite::Loaded),
    Postgres(Box<into_postgres::Loaded>),
}

impl Loaded {
    /// Replaces the database and returns the number of logs.
    async fn replace(self, config: &Config) -> Result<u64, Failure> {
        match self {
            Self::Sqlite(loaded) => loaded.replace().await,
            Self::Postgres(loaded) => loaded.replace(config).await,
        }
    }
}

/// Performs everything before the replacement: reads the whole archive.
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
