//! Loading a copy into a PostgreSQL database, in one transaction.
//!
//! Others may start meanwhile: a server that migrates or fills the empty database, or another restore. So the lock of migrations is held from before
//! the first look at the database until the end, and the database is looked at again under the locks of all its tables: who came in between is
//! seen then, and who comes later waits.

use std::time::Duration;

use bytes::Bytes;
use parley_fault::Protection;
use sqlx::{Connection as _, PgConnection};

use super::{
    MIGRATIONS, Sequence, Table,
    postgres::{OWN, TABLES, connect, quoted, run},
};
use crate::advisory;

/// A database that a copy is to be loaded into. Until it is dropped nobody migrates it, and no other copy is loaded.
#[derive(Debug)]
pub struct Target {
    connection: PgConnection,
    /// Its URL, with a name that distinguishes connections of this restore from others.
    url: String,
    name: String,
}

/// What a database holds before a copy is loaded into it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether it has an account.
    pub holds_data: bool,
    /// Connections of the same user to it that are not of this restore.
    pub sessions: i64,
}

impl Target {
    /// Connects to a database and locks it against migrations; none while another process holds that lock.
    ///
    /// # Errors
    /// When it cannot be reached.
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

    /// The URL for other connections of this restore, which [`Found::sessions`] does not count.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the database holds now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn look(&mut self) -> Result<Found, sqlx::Error> {
        look(&mut self.connection, &self.name).await
    }

    /// The migrations that were run.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn migrations(&mut self) -> Result<Vec<String>, sqlx::Error> {
        if !has_table(&mut self.connection, "seaql_migrations").await? {
            return Ok(Vec::new());
        }
        sqlx::query_scalar(MIGRATIONS).fetch_all(&mut self.connection).await
    }

    /// Begins to load: nobody can read or write the tables until the end.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn begin(mut self) -> Result<Loading, sqlx::Error> {
        run(&mut self.connection, "BEGIN".to_owned()).await?;
        let tables: Vec<(String, Vec<String>)> = sqlx::query_as(TABLES).bind(&OWN[..]).fetch_all(&mut self.connection).await?;
        let tables: Vec<Table> = tables.into_iter().map(|(name, columns)| Table { name, columns }).collect();
        let names: Vec<String> = tables.iter().map(|table| quoted(&table.name)).collect();
        if parley_fault::is_on(Protection::RestoreLocks) {
            // First, as a server that fills an empty database takes it: then neither holds a table that the other waits for.
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

async fn look(connection: &mut PgConnection, name: &str) -> Result<Found, sqlx::Error> {
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
    Ok(Found { holds_data, sessions })
}

/// A copy that is being loaded. Dropped before [`Loading::commit`], it leaves the database as it was.
#[derive(Debug)]
pub struct Loading {
    target: Target,
    tables: Vec<Table>,
    /// Tables, names and definitions of foreign keys, which are put back at the end.
    keys: Vec<(String, String, String)>,
}

/// Why a copy was not loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// The database is as it was.
    Refused(sqlx::Error),
    /// The connection broke during the commit, which may have happened.
    Unknown(sqlx::Error),
}

impl From<sqlx::Error> for NotLoaded {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error)
    }
}

impl Loading {
    /// What the database holds, behind the locks of its tables: it does not change any more.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn look(&mut self) -> Result<Found, sqlx::Error> {
        self.target.look().await
    }

    /// Empties every table.
    ///
    /// # Errors
    /// When the database refuses.
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
        // What triggers keep is among the copied rows, and the order of tables is not that of foreign keys.
        for (table, name, _) in &self.keys {
            run(connection, format!("ALTER TABLE {table} DROP CONSTRAINT {}", quoted(name))).await?;
        }
        for name in &names {
            run(connection, format!("ALTER TABLE {name} DISABLE TRIGGER USER")).await?;
        }
        Ok(())
    }

    /// Loads rows of a table, as [`super::postgres::Snapshot::rows`] gave them. A piece may end within a row.
    ///
    /// # Errors
    /// When the database refuses them; what the pieces fail with.
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

    /// Puts back what holds between tables, gives every log another epoch, and commits. Returns how many logs there are, and the database, which
    /// is still locked.
    ///
    /// # Errors
    /// [`NotLoaded::Refused`] when the rows do not belong together, or the database refuses; [`NotLoaded::Unknown`].
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
    /// Ends it, with statistics of the new rows. Others may go on.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn end(mut self) -> Result<(), sqlx::Error> {
        run(&mut self.connection, "ANALYZE".to_owned()).await?;
        self.connection.close().await
    }
}
