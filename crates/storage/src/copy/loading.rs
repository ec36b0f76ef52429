//! Loads a copy into a PostgreSQL database, in one transaction.
//!
//! Another process can start during a restore: a server that migrates or bootstraps the empty database, or another restore. Therefore the
//! migration lock is held from before the first inspection of the database until the end of the restore, and the database is inspected
//! again while all its tables are locked. The second inspection finds data that was written since the first one; a process that starts
//! after the second one waits for the locks.

use std::time::Duration;

use bytes::Bytes;
use parley_fault::Protection;
use sqlx::{Connection as _, PgConnection};

use super::{
    MIGRATIONS, Sequence, Table,
    postgres::{OWN, TABLES, connect, quoted, run},
};
use crate::advisory;

/// A database into which a copy is loaded. Until this value is dropped, no other process can migrate it or load a copy into it.
#[derive(Debug)]
pub struct Target {
    connection: PgConnection,
    /// The URL, with an application name that distinguishes the connections of this restore from other connections.
    url: String,
    name: String,
}

/// The contents and the connections of a database before a copy is loaded into it.
#[derive(Clone, Debug)]
pub struct TargetContents {
    /// Whether the database contains an account.
    pub holds_data: bool,
    /// The number of connections by the same user that do not belong to this restore.
    pub sessions: i64,
}

impl Target {
    /// Connects to a database and takes its migration lock. Returns `None` if another process holds that lock.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the database cannot be reached.
    pub async fn lock(url: &str, timeout: Duration) -> Result<Option<Self>, sqlx::Error> {
        let name = format!("parley restore {:08x}", rand::random::<u32>());
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}application_name={}", name.replace(' ', "%20"));
        let mut connection = connect(&url, timeout).await?;
        let is_locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(advisory::MIGRATION)
            .fetch_one(&mut connection)
            .await?;
        Ok((is_locked || !parley_fault::is_on(Protection::RestoreLocks)).then_some(Self { connection, url, name }))
    }

    /// Returns the URL for further connections of this restore, which [`TargetContents::sessions`] does not count.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Inspects the current contents of the database.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the query fails.
    pub async fn inspect(&mut self) -> Result<TargetContents, sqlx::Error> {
        inspect(&mut self.connection, &self.name).await
    }

    /// Returns the migrations that were run on the database.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the query fails.
    pub async fn migrations(&mut self) -> Result<Vec<String>, sqlx::Error> {
        if !has_table(&mut self.connection, "seaql_migrations").await? {
            return Ok(Vec::new());
        }
        sqlx::query_scalar(MIGRATIONS).fetch_all(&mut self.connection).await
    }

    /// Begins loading. Other sessions cannot read or write the tables until the transaction ends.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if a statement fails.
    pub async fn begin(mut self) -> Result<Loading, sqlx::Error> {
        run(&mut self.connection, "BEGIN".to_owned()).await?;
        let tables: Vec<(String, Vec<String>)> = sqlx::query_as(TABLES).bind(&OWN[..]).fetch_all(&mut self.connection).await?;
        let tables: Vec<Table> = tables.into_iter().map(|(name, columns)| Table { name, columns }).collect();
        let names: Vec<String> = tables.iter().map(|table| quoted(&table.name)).collect();
        if parley_fault::is_on(Protection::RestoreLocks) {
            // Take the bootstrap lock before the table locks, in the same order as a server that bootstraps an empty database, so that the
            // two cannot deadlock.
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(advisory::BOOTSTRAP)
                .execute(&mut self.connection)
                .await?;
            run(
                &mut self.connection,
                format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", ")),
            )
            .await?;
        }
        Ok(Loading {
            target: self,
            tables,
            keys: Vec::new(),
        })
    }
}

async fn has_table(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regclass(quote_ident($1)) IS NOT NULL")
        .bind(table)
        .fetch_one(connection)
        .await
}

async fn inspect(connection: &mut PgConnection, name: &str) -> Result<TargetContents, sqlx::Error> {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'
            AND application_name <> $1";
    let sessions = sqlx::query_scalar(sql).bind(name).fetch_one(&mut *connection).await?;
    let mut holds_data = false;
    if has_table(connection, "accounts").await? {
        holds_data = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts)")
            .fetch_one(&mut *connection)
            .await?;
    }
    Ok(TargetContents { holds_data, sessions })
}

/// A copy that is being loaded. If this value is dropped before [`Loading::commit`], the database remains unchanged.
#[derive(Debug)]
pub struct Loading {
    target: Target,
    tables: Vec<Table>,
    /// The table, name and definition of each foreign key that was dropped. [`Loading::commit`] creates them again.
    keys: Vec<(String, String, String)>,
}

/// The reason why a copy was not loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// Loading failed, and the database is unchanged.
    Refused(sqlx::Error),
    /// The connection broke during the commit, so it is unknown whether the copy was loaded.
    Unknown(sqlx::Error),
}

impl From<sqlx::Error> for NotLoaded {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error)
    }
}

impl Loading {
    /// Inspects the database again. Its tables are now locked, so its contents can no longer change.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the query fails.
    pub async fn inspect(&mut self) -> Result<TargetContents, sqlx::Error> {
        self.target.inspect().await
    }

    /// Empties every table, drops the foreign keys and disables the triggers.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if a statement fails.
    pub async fn empty(&mut self) -> Result<(), sqlx::Error> {
        let connection = &mut self.target.connection;
        self.keys = sqlx::query_as(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
                WHERE contype = 'f' AND connamespace = current_schema()::regnamespace
                    AND conrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1))
                ORDER BY 1, 2",
        )
        .bind(&OWN[..])
        .fetch_all(&mut *connection)
        .await?;
        let names: Vec<String> = self.tables.iter().map(|table| quoted(&table.name)).collect();
        run(connection, format!("TRUNCATE {}", names.join(", "))).await?;
        // Disable triggers because the copy already contains the rows that they maintain. Drop foreign keys because the tables are not
        // loaded in the order that foreign keys require.
        for (table, name, _) in &self.keys {
            run(connection, format!("ALTER TABLE {table} DROP CONSTRAINT {}", quoted(name))).await?;
        }
        for name in &names {
            run(connection, format!("ALTER TABLE {name} DISABLE TRIGGER USER")).await?;
        }
        Ok(())
    }

    /// Loads rows of a table in the format of [`super::postgres::Snapshot::rows`]. A chunk can end in the middle of a row.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if PostgreSQL rejects the rows, and any error from `next`.
    pub async fn rows<E: From<sqlx::Error>>(
        &mut self,
        table: &Table,
        mut next: impl AsyncFnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<(), E> {
        let connection = &mut self.target.connection;
        let mut copy = connection.copy_in_raw(&format!("COPY {} FROM STDIN", table.spelled())).await?;
        while let Some(bytes) = next().await? {
            copy.send(bytes).await?;
        }
        copy.finish().await?;
        Ok(())
    }

    /// Restores the triggers, foreign keys and sequences, assigns a new epoch to every log, and commits. Returns the number of logs, and
    /// the target database, whose migration lock is still held.
    ///
    /// # Errors
    /// Returns [`NotLoaded::Refused`] if rows violate a foreign key or a statement fails, and [`NotLoaded::Unknown`] if the connection
    /// breaks during the commit.
    pub async fn commit(self, sequences: &[Sequence], epoch: i64) -> Result<(u64, Target), NotLoaded> {
        let Self { mut target, tables, keys } = self;
        let connection = &mut target.connection;
        for table in &tables {
            run(connection, format!("ALTER TABLE {} ENABLE TRIGGER USER", quoted(&table.name))).await?;
        }
        for (table, name, definition) in &keys {
            run(
                connection,
                format!("ALTER TABLE {table} ADD CONSTRAINT {} {definition}", quoted(name)),
            )
            .await?;
        }
        for sequence in sequences {
            sqlx::query("SELECT setval(quote_ident($1)::regclass, $2)")
                .bind(&sequence.name)
                .bind(sequence.last)
                .execute(&mut *connection)
                .await?;
        }
        let logs = sqlx::query("UPDATE account_logs SET epoch = $1")
            .bind(epoch)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        run(connection, "COMMIT".to_owned()).await.map_err(|error| match error {
            sqlx::Error::Database(_) => NotLoaded::Refused(error),
            broken => NotLoaded::Unknown(broken),
        })?;
        Ok((logs, target))
    }
}

impl Target {
    /// Analyzes the tables, so that the query planner has statistics about the loaded rows, and releases the migration lock.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the connection is broken.
    pub async fn end(mut self) -> Result<(), sqlx::Error> {
        run(&mut self.connection, "ANALYZE".to_owned()).await?;
        self.connection.close().await
    }
}
