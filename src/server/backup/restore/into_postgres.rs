//! Restores into a PostgreSQL database: its tables are migrated to those of the archive, and the rows are replaced in one transaction.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use parley_fault::Protection;
use parley_storage::{
    Database,
    copy::{
        Sequence, Source, Table,
        loading::{Found, Loading, NotLoaded, Target},
    },
};
use parley_types::id::Epoch;
use tokio::time::{Instant, sleep};

use super::{
    entries::{Beside, SMALL, beside_the_database},
    failure::Failure,
};
use crate::{
    config::Config,
    server::{
        backup::{
            archive::Reader,
            files::Restoring,
            manifest::{Complete, SEQUENCES},
            refused::Refused,
        },
        rooms,
    },
};

/// How long a restore waits for other connections to close, and how often it checks.
const SETTLING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// Rows that were loaded but not committed.
pub(super) struct Loaded {
    loading: Loading,
    sequences: Vec<Sequence>,
}

/// Loads the archive in a transaction.
///
/// # Errors
/// Same as [`super::restore`].
pub(super) async fn load(
    config: &Config,
    source: Source,
    reader: &mut Reader,
    files: &mut Restoring,
    force: bool,
) -> anyhow::Result<(Loaded, Complete)> {
    let settings = rooms::database(config);
    let locked = Target::lock(&settings.url, settings.connect_timeout).await;
    let Some(mut target) = locked.context("the database cannot be reached")? else {
        bail!(Refused::Busy);
    };
    is_free(&settled(&mut target, force).await?, force)?;
    let migrations = target.migrations().await?;
    if let Some(migration) = migrations.iter().find(|name| !source.migrations.contains(name)) {
        bail!(Refused::Migrated(migration.clone()));
    }
    if let Some(gap) = Database::gap(&migrations) {
        bail!(Refused::ForkedTarget(gap));
    }
    let db = Database::open(&of(&target, config)).await?;
    let migrated = db.migrate_to(&source.migrations).await;
    db.close().await.context("closing the database")?;
    migrated?;

    let mut loading = target.begin().await?;
    // Check again: a server might have started before the tables were locked.
    if parley_fault::is_on(Protection::RestoreLocks) {
        is_free(&loading.look().await?, force)?;
    }
    loading.empty().await?;
    let (mut complete, mut sequences) = (None, None);
    while let Some((name, _)) = reader.entry().await? {
        if name == SEQUENCES {
            let read: Vec<Sequence> =
                serde_json::from_slice(&reader.whole(SMALL).await?).map_err(|error| Refused::entry(SEQUENCES, &error))?;
            sequences = Some(read);
        } else if let Some(table) = table_of(&source.tables, &name) {
            let loaded = loading.rows(table, async || pieces(reader, &table.name).await).await;
            loaded.map_err(|error| of_rows(error, &table.name))?;
        } else {
            match beside_the_database(reader, &name, files).await? {
                Beside::File => {}
                Beside::End(end) => complete = Some(end),
                Beside::Other => bail!(Refused::damaged(format_args!("it has an entry {name}"))),
            }
        }
    }
    let (complete, sequences) = complete.zip(sequences).ok_or_else(|| Refused::damaged("its end is missing"))?;
    Ok((Loaded { loading, sequences }, complete))
}

impl Loaded {
    /// Commits the rows, then migrates the tables to this program's version.
    pub(super) async fn replace(self, config: &Config) -> Result<u64, Failure> {
        let committed = self.loading.commit(&self.sequences, Epoch::random().0).await;
        let (logs, target) = committed.map_err(|error| match error {
            NotLoaded::Refused(error) => Failure::Undone(of_rows(anyhow!(error).context("loading the rows"), "the database")),
            NotLoaded::Unknown(error) => Failure::Done(anyhow!(error).context(
                "the connection broke during the commit: the database was restored or is as it was, and restored files were kept; look, and restore again",
            )),
        })?;
        migrate(&target, config)
            .await
            .context("the database was restored, but could not be migrated: run `parley migrate`")
            .map_err(Failure::Done)?;
        // The rows are committed, so a failure loses nothing: only statistics are missing, and locks end with the process.
        if let Err(error) = target.end().await {
            tracing::warn!(%error, "statistics of the restored tables could not be collected");
        }
        Ok(logs)
    }
}

async fn migrate(target: &Target, config: &Config) -> anyhow::Result<()> {
    let db = Database::open(&of(target, config)).await?;
    let migrated = db.migrate_locked().await;
    db.close().await.context("closing the database")?;
    migrated.map_err(Into::into)
}

/// The settings for connections of this restore.
fn of(target: &Target, config: &Config) -> parley_storage::Config {
    parley_storage::Config {
        url: target.url().to_owned(),
        ..rooms::database(config)
    }
}

/// Waits for connections that are closing, and returns what the database contains: PostgreSQL lists connections for a moment after their
/// clients have ended.
///
/// # Errors
/// Returns an error if the database does not answer.
async fn settled(target: &mut Target, force: bool) -> anyhow::Result<Found> {
    let until = Instant::now() + SETTLING;
    let mut is_reported = false;
    loop {
        let found = target.look().await?;
        // Do not wait if it changes nothing: existing data is refused anyway, and `force` overrides the check.
        if found.sessions == 0 || found.holds_data || force || Instant::now() >= until {
            return Ok(found);
        }
        if !is_reported {
            is_reported = true;
            tracing::info!(
                connections = found.sessions,
                seconds = SETTLING.as_secs(),
                "waiting for other connections to the database to close"
            );
        }
        sleep(LOOK).await;
    }
}

/// Checks that the database is not in use and that no data would be lost.
///
/// # Errors
/// Returns [`Refused::InUse`] if there are other connections, and [`Refused::NotEmpty`] if the database contains data.
fn is_free(found: &Found, force: bool) -> Result<(), Refused> {
    if force {
        return Ok(());
    }
    if found.sessions > 0 {
        return Err(Refused::InUse(found.sessions));
    }
    if found.holds_data {
        return Err(Refused::NotEmpty);
    }
    Ok(())
}

/// Converts an error of loading rows: SQLSTATE classes 22 (data exceptions) and 23 (violated constraints) mean that the rows themselves are
/// invalid, so the archive is damaged.
fn of_rows(error: anyhow::Error, of: &str) -> anyhow::Error {
    let database = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    match database.filter(|error| error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))) {
        Some(error) => Refused::damaged(format_args!("the rows of {of} cannot be loaded: {error}")).into(),
        None => error,
    }
}

/// Returns the table to which an entry's rows belong.
fn table_of<'a>(tables: &'a [Table], entry: &str) -> Option<&'a Table> {
    let (name, _) = entry.strip_prefix("database/")?.rsplit_once('/')?;
    tables.iter().find(|table| table.name == name)
}

/// Returns the next bytes of a table, whose rows can continue in the next entry.
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
