//! Copies of a PostgreSQL database: the rows of every table of one snapshot, by `COPY`, and loading them in one transaction.

use std::{str::FromStr as _, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{MIGRATIONS, OBJECTS, Object, ObjectRow, ROWS, Sequence, Source, Table, object};

/// The tables of this program, without the list of migrations, which are run and not loaded. Others in the schema belong to somebody else: they
/// are neither copied nor emptied.
const OWN: [&str; 41] = [
    "account_logs",
    "accounts",
    "agent_bots",
    "announcements",
    "api_channels",
    "assignment_turns",
    "attachments",
    "attribute_values",
    "audit_events",
    "canned_responses",
    "consumer_shards",
    "consumers",
    "contact_inboxes",
    "contact_merges",
    "contact_notes",
    "contacts",
    "conversation_participants",
    "conversation_waits",
    "conversations",
    "custom_attribute_definitions",
    "erasures",
    "events",
    "former_members",
    "idempotency_keys",
    "inbox_members",
    "inboxes",
    "labelings",
    "labels",
    "logins",
    "mails",
    "memberships",
    "message_search",
    "messages",
    "presences",
    "schema_floor",
    "search_positions",
    "secrets",
    "team_members",
    "teams",
    "tokens",
    "users",
];

const TABLES: &str = "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname = ANY($1)
        AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    GROUP BY c.relname ORDER BY c.relname";

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    fn spelled(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quoted(column)).collect();
        format!("{} ({})", quoted(&self.name), columns.join(", "))
    }
}

async fn connect(url: &str, timeout: Duration) -> Result<PgConnection, sqlx::Error> {
    // Copying takes as long as it takes.
    let options = PgConnectOptions::from_str(url)?.options([("idle_in_transaction_session_timeout", "0"), ("statement_timeout", "0")]);
    tokio::time::timeout(timeout, options.connect())
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// One snapshot of a database. Writers go on beside it.
#[derive(Debug)]
pub struct Snapshot(PgConnection);

impl Snapshot {
    /// Takes a snapshot.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn take(url: &str, timeout: Duration) -> Result<Self, sqlx::Error> {
        let mut connection = connect(url, timeout).await?;
        run(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned()).await?;
        Ok(Self(connection))
    }

    /// What it is of.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn source(&mut self) -> Result<Source, sqlx::Error> {
        let migrations = sqlx::query_scalar(MIGRATIONS).fetch_all(&mut self.0).await?;
        let tables: Vec<(String, Vec<String>)> = sqlx::query_as(TABLES).bind(&OWN[..]).fetch_all(&mut self.0).await?;
        Ok(Source {
            backend: "postgresql".to_owned(),
            migrations,
            tables: tables.into_iter().map(|(name, columns)| Table { name, columns }).collect(),
        })
    }

    /// The rows of a table, in PostgreSQL's text format.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rows(&mut self, table: &Table) -> Result<BoxStream<'_, Result<Bytes, sqlx::Error>>, sqlx::Error> {
        self.0.copy_out_raw(&format!("COPY {} TO STDOUT", table.spelled())).await
    }

    /// The sequences. They are not part of a snapshot; read after the tables, they are never behind them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sequences(&mut self) -> Result<Vec<Sequence>, sqlx::Error> {
        let sql = "SELECT sequencename::text, last_value FROM pg_sequences
            WHERE schemaname = current_schema() AND last_value IS NOT NULL AND sequencename = ANY($1) ORDER BY 1";
        let own: Vec<String> = OWN.iter().map(|table| format!("{table}_id_seq")).collect();
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(own).fetch_all(&mut self.0).await?;
        Ok(rows.into_iter().map(|(name, last)| Sequence { name, last }).collect())
    }

    /// The files after the one with this id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn objects(&mut self, after: i64) -> Result<Vec<Object>, sqlx::Error> {
        let rows: Vec<ObjectRow> = sqlx::query_as(OBJECTS).bind(after).bind(ROWS).fetch_all(&mut self.0).await?;
        Ok(rows.into_iter().map(object).collect())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn end(self) -> Result<(), sqlx::Error> {
        self.0.close().await
    }
}

/// What a database holds before a copy is loaded into it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The migrations that were run.
    pub migrations: Vec<String>,
    /// Whether it has an account.
    pub holds_data: bool,
    /// Other connections of the same user to it.
    pub sessions: i64,
}

/// Looks at a database that a copy is to be loaded into.
///
/// # Errors
/// When it cannot be reached.
pub async fn target(url: &str, timeout: Duration) -> Result<Target, sqlx::Error> {
    let mut connection = connect(url, timeout).await?;
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let sessions = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    let has = |table: &'static str| sqlx::query_scalar::<_, bool>("SELECT to_regclass(quote_ident($1)) IS NOT NULL").bind(table);
    let mut migrations = Vec::new();
    if has("seaql_migrations").fetch_one(&mut connection).await? {
        migrations = sqlx::query_scalar(MIGRATIONS).fetch_all(&mut connection).await?;
    }
    let mut holds_data = false;
    if has("accounts").fetch_one(&mut connection).await? {
        holds_data = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts)")
            .fetch_one(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(Target {
        migrations,
        holds_data,
        sessions,
    })
}

/// A copy that is being loaded. Dropped before [`Loading::commit`], it leaves the database as it was.
#[derive(Debug)]
pub struct Loading {
    connection: PgConnection,
    tables: Vec<Table>,
    /// Tables, names and definitions of foreign keys, which are put back at the end.
    keys: Vec<(String, String, String)>,
}

impl Loading {
    /// Empties every table. Nobody can read or write them until the end.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn begin(url: &str, timeout: Duration) -> Result<Self, sqlx::Error> {
        let mut connection = connect(url, timeout).await?;
        run(&mut connection, "BEGIN".to_owned()).await?;
        let tables: Vec<(String, Vec<String>)> = sqlx::query_as(TABLES).bind(&OWN[..]).fetch_all(&mut connection).await?;
        let tables: Vec<Table> = tables.into_iter().map(|(name, columns)| Table { name, columns }).collect();
        let keys: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
                WHERE contype = 'f' AND connamespace = current_schema()::regnamespace
                    AND conrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1))
                ORDER BY 1, 2",
        )
        .bind(&OWN[..])
        .fetch_all(&mut connection)
        .await?;
        let names: Vec<String> = tables.iter().map(|table| quoted(&table.name)).collect();
        run(&mut connection, format!("TRUNCATE {}", names.join(", "))).await?;
        // What triggers keep is among the copied rows, and the order of tables is not that of foreign keys.
        for (table, name, _) in &keys {
            run(&mut connection, format!("ALTER TABLE {table} DROP CONSTRAINT {}", quoted(name))).await?;
        }
        for name in &names {
            run(&mut connection, format!("ALTER TABLE {name} DISABLE TRIGGER USER")).await?;
        }
        Ok(Self { connection, tables, keys })
    }

    /// Loads rows of a table, as [`Snapshot::rows`] gave them. A piece may end within a row.
    ///
    /// # Errors
    /// When the database refuses them; what the pieces fail with.
    pub async fn rows<E: From<sqlx::Error>>(
        &mut self,
        table: &Table,
        mut next: impl AsyncFnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<(), E> {
        let mut copy = self.connection.copy_in_raw(&format!("COPY {} FROM STDIN", table.spelled())).await?;
        while let Some(bytes) = next().await? {
            copy.send(bytes).await?;
        }
        copy.finish().await?;
        Ok(())
    }

    /// Puts back what holds between tables, gives every log another epoch, and commits. Returns how many logs there are.
    ///
    /// # Errors
    /// When the rows do not belong together, or the database refuses.
    pub async fn commit(mut self, sequences: &[Sequence], epoch: i64) -> Result<u64, sqlx::Error> {
        for table in &self.tables {
            run(
                &mut self.connection,
                format!("ALTER TABLE {} ENABLE TRIGGER USER", quoted(&table.name)),
            )
            .await?;
        }
        for (table, name, definition) in &self.keys {
            let sql = format!("ALTER TABLE {table} ADD CONSTRAINT {} {definition}", quoted(name));
            run(&mut self.connection, sql).await?;
        }
        for sequence in sequences {
            sqlx::query("SELECT setval(quote_ident($1)::regclass, $2)")
                .bind(&sequence.name)
                .bind(sequence.last)
                .execute(&mut self.connection)
                .await?;
        }
        let logs = sqlx::query("UPDATE account_logs SET epoch = $1")
            .bind(epoch)
            .execute(&mut self.connection)
            .await?
            .rows_affected();
        run(&mut self.connection, "COMMIT".to_owned()).await?;
        run(&mut self.connection, "ANALYZE".to_owned()).await?;
        self.connection.close().await?;
        Ok(logs)
    }
}
