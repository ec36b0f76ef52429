//! Restores into a SQLite file: the archive's database is prepared next to the file to be replaced and then renamed over it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use parley_eventlog::log::Log;
use parley_storage::{Database, copy::sqlite, lock_beside};

use super::{
    entries::{OtherEntry, read_other_entry},
    replace_error::ReplaceError,
};
use crate::{
    config::Config,
    server::backup::{
        archive::{self, Reader},
        error::BackupError,
        files::FileRestore,
        manifest::{FileCounts, SQLITE_FILE, check_lineage},
        temporary::{Temporary, storage_config},
    },
};

/// A database file that is ready to be moved into place.
pub(super) struct LoadedDatabase {
    restored: Temporary,
    file: PathBuf,
    logs: u64,
    /// The lock that servers and restores hold while they use the database.
    _lock: fs::File,
}

/// Restores the archive's database into a file next to the one to be replaced.
///
/// # Errors
/// Same as [`super::restore`].
pub(super) async fn load(
    config: &Config,
    file: &Path,
    reader: &mut Reader,
    files: &mut FileRestore,
    force: bool,
) -> anyhow::Result<(LoadedDatabase, FileCounts)> {
    let lock = lock_beside(file).await?;
    if !force && sqlite::holds_data(file).await {
        bail!(BackupError::NotEmpty);
    }
    let restored = Temporary(archive::sibling(file, "restore"));
    let mut counts = None;
    while let Some((name, _)) = reader.next_entry().await? {
        if name == SQLITE_FILE {
            let mut copy = archive::create_private(&restored.0)?;
            while let Some(bytes) = reader.next_chunk().await? {
                copy = tokio::task::spawn_blocking(move || copy.write_all(&bytes).map(|()| copy)).await??;
            }
            copy.sync_all()?;
        } else {
            match read_other_entry(reader, &name, files).await? {
                OtherEntry::File => {}
                OtherEntry::End(end) => counts = Some(end),
                OtherEntry::Unknown => bail!(BackupError::damaged(format_args!("it contains an unexpected entry, {name}"))),
            }
        }
    }
    let counts = counts.ok_or_else(|| BackupError::damaged("its end is missing"))?;
    // Check the migrations in the database file itself; those in the manifest are only a copy.
    let invalid_database = |error: sqlx::Error| BackupError::damaged(format_args!("its database cannot be read: {error}"));
    let mut copy = sqlite::open(&restored.0).await.map_err(invalid_database)?;
    check_lineage(&sqlite::source(&mut copy).await.map_err(invalid_database)?)?;
    sqlx::Connection::close(copy).await?;
    let db = Database::open(&storage_config(config, &restored.0)).await?;
    db.migrate().await?;
    let logs = Log::new(db.clone()).replace_all().await?;
    db.close().await.context("closing the restored database")?;
    let loaded = LoadedDatabase {
        restored,
        file: file.to_owned(),
        logs,
        _lock: lock,
    };
    Ok((loaded, counts))
}

impl LoadedDatabase {
    /// Replaces the database file and returns the number of logs.
    pub(super) async fn replace(self) -> Result<u64, ReplaceError> {
        // The old file must remain complete until the new one has its name, so apply the old file's journal first. If the old file cannot
        // be read, there is nothing to preserve.
        if let Err(error) = sqlite::absorb_journal(&self.file).await {
            tracing::warn!(%error, "failed to read the database to be replaced; replacing it anyway");
        }
        replace_file(&self.restored.0, &self.file).map_err(ReplaceError::NotReplaced)?;
        archive::sync_folder(&self.file)
            .context("the database was restored")
            .map_err(ReplaceError::Replaced)?;
        Ok(self.logs)
    }
}

/// Replaces a database file. First removes the journal of the old file, because it must not be applied to the new file.
fn replace_file(restored: &Path, file: &Path) -> anyhow::Result<()> {
    for suffix in ["-wal", "-shm"] {
        let mut journal = file.as_os_str().to_owned();
        journal.push(suffix);
        match fs::remove_file(PathBuf::from(journal)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("removing the old journal"),
            _ => {}
        }
    }
    fs::rename(restored, file).with_context(|| format!("{} cannot be replaced", file.display()))
}
