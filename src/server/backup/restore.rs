//! Putting an archive back: into an empty database, with no server on it, and with another epoch.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use thiserror::Error;

use super::{
    COMPLETE, Complete, FILES, FORM, MANIFEST, Manifest, SEQUENCES, SQLITE_FILE, Temporary,
    archive::{self, Reader},
    at,
};
use crate::{
    config::Config,
    db::{
        Database,
        copy::{
            Sequence, Source, Table,
            postgres::{self, Loading},
            sqlite,
        },
        lock_beside, sqlite_file,
    },
    events::log::Log,
    id::Epoch,
    server::rooms,
    storage::Storage,
};

/// The most that the small entries of an archive have.
const SMALL: usize = 4 * 1024 * 1024;

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
}

/// What was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Logs that have another epoch.
    pub logs: u64,
    /// Files, and those that were missing when the archive was made.
    pub files: Complete,
}

/// Puts an archive back. The database is replaced at once, at the end.
///
/// # Errors
/// [`Refused`]; [`crate::db::OpenError`]; when the archive is damaged or something cannot be written. The database is then as it was.
pub async fn restore(config: &Config, archive: &Path, force: bool) -> anyhow::Result<Restored> {
    let storage = Storage::new(&rooms::storage(config)).context("files.url")?;
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
    let newer = Database::unknown_migration(&manifest.database.migrations);
    if let Some(migration) = newer {
        bail!(Refused::Newer(migration));
    }
    match sqlite_file(&config.database.url) {
        Some(file) => into_sqlite(config, &file, &mut reader, &storage, force).await,
        None if backend == "postgresql" => into_postgres(config, manifest.database, &mut reader, &storage, force).await,
        None => bail!("a database in memory cannot be restored"),
    }
}

async fn manifest(reader: &mut Reader) -> anyhow::Result<Manifest> {
    let first = reader.entry().await?;
    ensure!(
        first.is_some_and(|(name, _)| name == MANIFEST),
        "the file is no archive of `parley backup`"
    );
    let manifest: Manifest = serde_json::from_slice(&reader.whole(SMALL).await?).context("the manifest cannot be read")?;
    ensure!(
        manifest.form == FORM,
        "the archive has the form {}, and this parley reads form {FORM}",
        manifest.form
    );
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
async fn beside_the_database(reader: &mut Reader, name: &str, storage: &Storage, restored: &mut u64) -> anyhow::Result<Beside> {
    if name == COMPLETE {
        let complete: Complete = serde_json::from_slice(&reader.whole(SMALL).await?)?;
        ensure!(
            complete.files == *restored,
            "the archive is damaged: it has {restored} files of {}",
            complete.files
        );
        return Ok(Beside::End(complete));
    }
    let Some(file) = name.strip_prefix(FILES) else {
        return Ok(Beside::Other);
    };
    let mut upload = storage.create(file).await.context("storing a file")?;
    while let Some(bytes) = reader.bytes().await? {
        upload.write(bytes).await.context("storing a file")?;
    }
    upload.finish().await.context("storing a file")?;
    *restored += 1;
    Ok(Beside::File)
}

async fn into_sqlite(config: &Config, file: &Path, reader: &mut Reader, storage: &Storage, force: bool) -> anyhow::Result<Restored> {
    // A server, and another restore, hold the same lock.
    let _lock = lock_beside(file).await?;
    if !force && sqlite::holds_data(file).await {
        bail!(Refused::NotEmpty);
    }
    let restored = Temporary(archive::beside(file, "restore"));
    let (mut files, mut complete) = (0, None);
    while let Some((name, _)) = reader.entry().await? {
        if name == SQLITE_FILE {
            let mut copy = archive::create_private(&restored.0)?;
            while let Some(bytes) = reader.bytes().await? {
                copy = tokio::task::spawn_blocking(move || copy.write_all(&bytes).map(|()| copy)).await??;
            }
            copy.sync_all()?;
        } else {
            match beside_the_database(reader, &name, storage, &mut files).await? {
                Beside::File => {}
                Beside::End(end) => complete = Some(end),
                Beside::Other => bail!("the archive is damaged: it has an entry {name}"),
            }
        }
    }
    let complete = complete.context("the archive is damaged: its end is missing")?;
    let db = Database::open(&at(config, &restored.0)).await?;
    db.migrate().await?;
    let logs = Log::new(db.clone()).replace_all().await?;
    db.close().await.context("closing the restored database")?;
    // Until the new file has its name the old one must be whole. One that cannot be read has nothing to keep.
    if let Err(error) = sqlite::absorb_journal(file).await {
        tracing::warn!(%error, "the database that is replaced cannot be read; replacing it as it is");
    }
    put_in_place(&restored.0, file)?;
    Ok(Restored { logs, files: complete })
}

/// Replaces a database file. The journal of the one before must not be applied to it.
fn put_in_place(restored: &Path, file: &Path) -> anyhow::Result<()> {
    for suffix in ["-wal", "-shm"] {
        let mut journal = file.as_os_str().to_owned();
        journal.push(suffix);
        match fs::remove_file(PathBuf::from(journal)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("removing the old journal"),
            _ => {}
        }
    }
    fs::rename(restored, file).with_context(|| format!("{} cannot be replaced", file.display()))?;
    archive::sync_folder(file)
}

async fn into_postgres(config: &Config, source: Source, reader: &mut Reader, storage: &Storage, force: bool) -> anyhow::Result<Restored> {
    let settings = rooms::database(config);
    let target = postgres::target(&settings.url, settings.connect_timeout)
        .await
        .context("the database cannot be reached")?;
    if !force && target.sessions > 0 {
        bail!(Refused::InUse(target.sessions));
    }
    if !force && target.holds_data {
        bail!(Refused::NotEmpty);
    }
    if let Some(migration) = target.migrations.into_iter().find(|name| !source.migrations.contains(name)) {
        bail!(Refused::Migrated(migration));
    }
    let db = Database::open(&settings).await?;
    let migrated = db.migrate_to(&source.migrations).await;
    db.close().await.context("closing the database")?;
    migrated?;

    let mut loading = Loading::begin(&settings.url, settings.connect_timeout).await?;
    let (mut files, mut complete, mut sequences) = (0, None, None);
    while let Some((name, _)) = reader.entry().await? {
        if name == SEQUENCES {
            let read: Vec<Sequence> = serde_json::from_slice(&reader.whole(SMALL).await?)?;
            sequences = Some(read);
        } else if let Some(table) = table_of(&source.tables, &name) {
            loading.rows(table, async || pieces(reader, &table.name).await).await?;
        } else {
            match beside_the_database(reader, &name, storage, &mut files).await? {
                Beside::File => {}
                Beside::End(end) => complete = Some(end),
                Beside::Other => bail!("the archive is damaged: it has an entry {name}"),
            }
        }
    }
    let (complete, sequences) = complete.zip(sequences).context("the archive is damaged: its end is missing")?;
    let logs = loading.commit(&sequences, Epoch::random().0).await.context("loading the rows")?;
    let db = Database::open(&settings).await?;
    let migrated = db.migrate().await;
    db.close().await.context("closing the database")?;
    migrated?;
    Ok(Restored { logs, files: complete })
}

/// The table that an entry holds rows of.
fn table_of<'a>(tables: &'a [Table], entry: &str) -> Option<&'a Table> {
    let (name, _) = entry.strip_prefix("database/")?.rsplit_once('/')?;
    tables.iter().find(|table| table.name == name)
}

/// The next bytes of a table, whose rows may go on in the next entry.
async fn pieces(reader: &mut Reader, table: &str) -> anyhow::Result<Option<Bytes>> {
    loop {
        if let Some(bytes) = reader.bytes().await? {
            return Ok(Some(bytes));
        }
        let goes_on = reader.entry().await?.is_some_and(|(name, _)| {
            name.strip_prefix("database/")
                .and_then(|rest| rest.rsplit_once('/'))
                .is_some_and(|(of, _)| of == table)
        });
        if !goes_on {
            return Ok(None);
        }
    }
}
