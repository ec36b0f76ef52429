//! Restores into a PostgreSQL database: its tables are migrated to the archive's version, and the rows are replaced in one transaction.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use parley_fault::Protection;
use parley_storage::{
    Database,
    copy::{
        Sequence, Source, Table,
        loading::{Loading, NotLoaded, Target, TargetContents},
    },
};
use parley_types::id::Epoch;
use tokio::time::{Instant, sleep};

use super::{
    entries::{MAX_JSON_BYTES, OtherEntry, read_other_entry},
    replace_error::ReplaceError,
};
use crate::{
    config::Config,
    server::{
        backup::{
            archive::Reader,
            error::BackupError,
            files::FileRestore,
            manifest::{FileCounts, SEQUENCES},
        },
        config_mapping,
    },
};

/// How long a restore waits for other connections to close, and how often it checks.
const MAX_WAIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A database whose rows were loaded but not committed.
pub(super) struct LoadedDatabase {
    loading: Loading,
    sequences: Vec<Sequence>,
}

/// Loads the archive in a transaction, which [`LoadedDatabase::replace`] commits.
///
/// # Errors
/// Same as [`super::restore`].
pub(super) async fn load(
    config: &Config,
    source: Source,
    reader: &mut Reader,
    files: &mut FileRestore,
    force: bool,
) -> anyhow::Result<(LoadedDatabase, FileCounts)> {
    let settings = config_mapping::database(config);
    let locked = Target::lock(&settings.url, settings.connect_timeout).await;
    let Some(mut target) = locked.context("the database cannot be reached")? else {
        bail!(BackupError::Busy);
    };
    check_target(&wait_for_other_sessions(&mut target, force).await?, force)?;
    let migrations = target.migrations().await?;
    if let Some(migration) = migrations.iter().find(|name| !source.migrations.contains(name)) {
        bail!(BackupError::Migrated(migration.clone()));
    }
    if let Some(gap) = Database::gap(&migrations) {
        bail!(BackupError::ForkedTarget(gap));
    }
    let db = Database::open(&storage_config(&target, config)).await?;
    let migrated = db.migrate_to(&source.migrations).await;
    db.close().await.context("closing the database")?;
    migrated?;

    let mut loading = target.begin().await?;
    // Check the database again: a server might have started before the tables were locked.
    if parley_fault::is_on(Protection::RestoreLocks) {
        check_target(&loading.inspect().await?, force)?;
    }
    loading.empty().await?;
    let (mut counts, mut sequences) = (None, None);
    while let Some((name, _)) = reader.next_entry().await? {
        if name == SEQUENCES {
            let read: Vec<Sequence> =
                serde_json::from_slice(&reader.read_entry(MAX_JSON_BYTES).await?).map_err(|error| BackupError::entry(SEQUENCES, &error))?;
            sequences = Some(read);
        } else if let Some(table) = table_of(&source.tables, &name) {
            let loaded = loading.rows(table, async || next_chunk(reader, &table.name).await).await;
            loaded.map_err(|error| row_error(error, &table.name))?;
        } else {
            match read_other_entry(reader, &name, files).await? {
                OtherEntry::File => {}
                OtherEntry::End(end) => counts = Some(end),
                OtherEntry::Unknown => bail!(BackupError::damaged(format_args!("it contains an unexpected entry, {name}"))),
            }
        }
    }
    let (counts, sequences) = counts.zip(sequences).ok_or_else(|| BackupError::damaged("its end is missing"))?;
    Ok((LoadedDatabase { loading, sequences }, counts))
}

impl LoadedDatabase {
    /// Commits the rows, migrates the tables to this program's version, and returns the number of logs.
    pub(super) async fn replace(self, config: &Config) -> Result<u64, ReplaceError> {
        let committed = self.loading.commit(&self.sequences, Epoch::random().0).await;
        let (logs, target) = committed.map_err(|error| match error {
            NotLoaded::Refused(error) => ReplaceError::NotReplaced(row_error(anyhow!(error).context("loading the rows"), "the database")),
            NotLoaded::Unknown(error) => ReplaceError::Replaced(anyhow!(error).context(
                "the connection was lost during the commit: the database is either restored or unchanged, and restored files were kept; check it, and restore again if necessary",
            )),
        })?;
        migrate(&target, config)
            .await
            .context("the database was restored, but could not be migrated: run `parley migrate`")
            .map_err(ReplaceError::Replaced)?;
        // The rows are committed, so a failure here loses no data: only planner statistics are missing, and the locks are released when the
        // process ends.
        if let Err(error) = target.end().await {
            tracing::warn!(%error, "failed to collect planner statistics for the restored tables; run ANALYZE");
        }
        Ok(logs)
    }
}

async fn migrate(target: &Target, config: &Config) -> anyhow::Result<()> {
    let db = Database::open(&storage_config(target, config)).await?;
    let migrated = db.migrate_locked().await;
    db.close().await.context("closing the database")?;
    migrated.map_err(Into::into)
}

/// Returns the configuration for the database connections of a restore.
fn storage_config(target: &Target, config: &Config) -> parley_storage::Config {
    parley_storage::Config {
        url: target.url().to_owned(),
        ..config_mapping::database(config)
    }
}

/// Waits for other connections to close, and returns the state of the database. PostgreSQL still lists connections for a moment after their
/// clients have disconnected.
///
/// # Errors
/// Returns an error if the database does not answer.
async fn wait_for_other_sessions(target: &mut Target, force: bool) -> anyhow::Result<TargetContents> {
    let deadline = Instant::now() + MAX_WAIT;
    let mut is_reported = false;
    loop {
        let found = target.inspect().await?;
        // Do not wait if it would change nothing: a database with data is refused anyway, and `force` overrides the check.
        if found.sessions == 0 || found.holds_data || force || Instant::now() >= deadline {
            return Ok(found);
        }
        if !is_reported {
            is_reported = true;
            tracing::info!(
                connections = found.sessions,
                seconds = MAX_WAIT.as_secs(),
                "waiting for other connections to the database to close"
            );
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Checks that the database is not in use and that no data would be lost.
///
/// # Errors
/// Returns [`BackupError::InUse`] if there are other connections, and [`BackupError::NotEmpty`] if the database contains data.
fn check_target(found: &TargetContents, force: bool) -> Result<(), BackupError> {
    if force {
        return Ok(());
    }
    if found.sessions > 0 {
        return Err(BackupError::InUse(found.sessions));
    }
    if found.holds_data {
        return Err(BackupError::NotEmpty);
    }
    Ok(())
}

/// Converts an error from loading rows: SQLSTATE classes 22 (data exceptions) and 23 (violated constraints) mean that the rows themselves
/// are invalid, so the archive is damaged.
fn row_error(error: anyhow::Error, table: &str) -> anyhow::Error {
    let database = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    match database.filter(|error| error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))) {
        Some(error) => BackupError::damaged(format_args!("the rows of {table} cannot be loaded: {error}")).into(),
        None => error,
    }
}

/// Returns the table to which an entry's rows belong.
fn table_of<'a>(tables: &'a [Table], entry: &str) -> Option<&'a Table> {
    let (name, _) = entry.strip_prefix("database/")?.rsplit_once('/')?;
    tables.iter().find(|table| table.name == name)
}

/// Returns the next bytes of a table's rows, which can continue in the next archive entry, or `None` at their end.
async fn next_chunk(reader: &mut Reader, table: &str) -> anyhow::Result<Option<Bytes>> {
    loop {
        if let Some(bytes) = reader.next_chunk().await? {
            return Ok(Some(bytes));
        }
        let continues = reader.next_entry().await?.is_some_and(|(name, _)| {
            name.strip_prefix("database/")
                .and_then(|rest| rest.rsplit_once('/'))
                .is_some_and(|(name, _)| name == table)
        });
        if !continues {
            return Ok(None);
        }
    }
}
