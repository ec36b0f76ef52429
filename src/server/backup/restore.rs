//! Restores an archive into an empty database that no server uses, and starts a new epoch for every log.

use std::path::Path;

use anyhow::{Context as _, bail};
use parley_blobs::Storage;
use parley_storage::sqlite_file;
use tokio_util::sync::CancellationToken;

use super::{
    archive::Reader,
    error::BackupError,
    files::FileRestore,
    manifest::{FORMAT_VERSION, FileCounts, MANIFEST, Manifest, check_lineage},
};
use crate::{config::Config, server::config_mapping};

mod entries;
mod into_postgres;
mod into_sqlite;
mod replace_error;

use entries::MAX_JSON_BYTES;
use replace_error::ReplaceError;

/// The result of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Number of logs, all of which have a new epoch.
    pub logs: u64,
    /// Numbers of restored files, and of files that were missing or damaged when the archive was written.
    pub files: FileCounts,
}

/// Restores an archive. The database is replaced in a single step at the end. If the restore fails or `stop` is cancelled before that step,
/// everything that was created is removed, except that the tables remain, without rows, in a PostgreSQL database that was empty. After that
/// step, `stop` has no effect.
///
/// # Errors
/// Returns [`BackupError`], [`parley_storage::OpenError`], or an error if the archive is damaged or something cannot be written. In all of
/// these cases, the database and the store are unchanged, unless the message says that the database was restored.
pub async fn restore(config: &Config, archive: &Path, force: bool, stop: &CancellationToken) -> anyhow::Result<Restored> {
    #[cfg(feature = "faults")]
    parley_fault::turn_off(&config.fault.switch);
    let storage = Storage::new(&config_mapping::file_store(config)).context("files.url")?;
    let mut files = FileRestore::new(storage);
    let loading = Box::pin(load(config, archive, force, &mut files));
    let loaded = stop.run_until_cancelled(loading).await;
    let replaced = match loaded.unwrap_or_else(|| bail!(BackupError::Stopped)) {
        Ok((loaded, counts)) => loaded.replace(config).await.map(|logs| Restored { logs, files: counts }),
        Err(error) => Err(ReplaceError::NotReplaced(error)),
    };
    match replaced {
        Ok(restored) => files.finish().await.map(|()| restored),
        Err(ReplaceError::NotReplaced(error)) => {
            files.roll_back().await;
            Err(error)
        }
        Err(ReplaceError::Replaced(error)) => {
            // The files belong to the restored database, so move them into place. Only log a failure to do so, because the error that ended
            // the restore matters more to the operator.
            if let Err(files) = files.finish().await {
                tracing::error!(error = format!("{files:#}"), "failed to move all restored files into place");
            }
            Err(error)
        }
    }
}

/// A database that is ready to replace another in a single step.
enum LoadedDatabase {
    Sqlite(into_sqlite::LoadedDatabase),
    Postgres(Box<into_postgres::LoadedDatabase>),
}

impl LoadedDatabase {
    /// Replaces the database and returns the number of logs.
    async fn replace(self, config: &Config) -> Result<u64, ReplaceError> {
        match self {
            Self::Sqlite(loaded) => loaded.replace().await,
            Self::Postgres(loaded) => loaded.replace(config).await,
        }
    }
}

/// Reads the whole archive and performs all steps of a restore that precede the replacement of the database.
async fn load(config: &Config, archive: &Path, force: bool, files: &mut FileRestore) -> anyhow::Result<(LoadedDatabase, FileCounts)> {
    let mut reader = Reader::open(archive);
    let manifest = read_manifest(&mut reader).await?;
    let backend = if config.database.url.starts_with("postgres") {
        "postgresql"
    } else {
        "sqlite"
    };
    if manifest.database.backend != backend {
        bail!(BackupError::OtherBackend(manifest.database.backend, backend));
    }
    check_lineage(&manifest.database)?;
    match sqlite_file(&config.database.url) {
        Some(file) => {
            let (loaded, counts) = into_sqlite::load(config, &file, &mut reader, files, force).await?;
            Ok((LoadedDatabase::Sqlite(loaded), counts))
        }
        None if backend == "postgresql" => {
            let (loaded, counts) = into_postgres::load(config, manifest.database, &mut reader, files, force).await?;
            Ok((LoadedDatabase::Postgres(Box::new(loaded)), counts))
        }
        None => bail!("an in-memory database cannot be restored"),
    }
}

async fn read_manifest(reader: &mut Reader) -> anyhow::Result<Manifest> {
    let first = reader.next_entry().await?;
    if first.is_none_or(|(name, _)| name != MANIFEST) {
        bail!(BackupError::Damaged("the file is not an archive of `parley backup`".to_owned()));
    }
    let manifest: Manifest =
        serde_json::from_slice(&reader.read_entry(MAX_JSON_BYTES).await?).map_err(|error| BackupError::entry(MANIFEST, &error))?;
    if manifest.format_version != FORMAT_VERSION {
        let text = format!(
            "the archive has format version {}, but this version of Parley reads {FORMAT_VERSION}",
            manifest.format_version
        );
        bail!(BackupError::Damaged(text));
    }
    Ok(manifest)
}
