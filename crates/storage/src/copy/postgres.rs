//! Copies of a PostgreSQL database: `COPY` reads the rows of every table in one snapshot.

use std::{str::FromStr as _, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{MIGRATIONS, OBJECTS, Object, ObjectRow, ROWS, Sequence, Source, Table, object};

/// The tables that belong to Parley, except the list of migrations, because a restore runs the migrations instead of loading the rows of
/// that list. Other tables in the schema belong to other programs; they are neither copied nor emptied.
pub(super) const OWN: [&str; 43] = [
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
    "cursor_marks",
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
    "trimmed_events",
    "users",
];

pub(super) const TABLES: &str = "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname = ANY($1)
        AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    GROUP BY c.relname ORDER BY c.relname";

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    pub(super) fn spelled(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quoted(column)).collect();
        format!("{} ({})", quoted(&self.name), columns.join(", "))
    }
}

pub(super) async fn connect(url: &str, timeout: Duration) -> Result<PgConnection, sqlx::Error> {
    // Disable these timeouts, because a copy can take arbitrarily long.
    let options = PgConnectOptions::from_str(url)?.options([("idle_in_transaction_session_timeout", "0"), ("statement_timeout", "0")]);
    tokio::time::timeout(timeout, options.connect())
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

pub(super) async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// A snapshot of a database. Open snapshots do not block writers.
#[derive(Debug)]
pub struct Snapshot(PgConnection);

impl Snapshot {
    /// Opens a snapshot.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the database cannot be reached.
    pub async fn take(url: &str, timeout: Duration) -> Result<Self, sqlx::Error> {
        let mut connection = connect(url, timeout).await?;
        run(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned()).await?;
        Ok(Self(connection))
    }

    /// Returns a description of the schema in the snapshot.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the query fails.
    pub async fn source(&mut self) -> Result<Source, sqlx::Error> {
        let mut migrations: Vec<String> = sqlx::query_scalar(MIGRATIONS).fetch_all(&mut self.0).await?;
        // Sort here, because the order in SQL depends on the collation of the database.
        migrations.sort_unstable();
        let tables: Vec<(String, Vec<String>)> = sqlx::query_as(TABLES).bind(&OWN[..]).fetch_all(&mut self.0).await?;
        Ok(Source {
            backend: "postgresql".to_owned(),
            migrations,
            tables: tables.into_iter().map(|(name, columns)| Table { name, columns }).collect(),
        })
    }

    /// Streams the rows of a table in PostgreSQL's text format.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the query fails.
    pub async fn rows(&mut self, table: &Table) -> Result<BoxStream<'_, Result<Bytes, sqlx::Error>>, sqlx::Error> {
        self.0.copy_out_raw(&format!("COPY {} TO STDOUT", table.spelled())).await
    }

    /// Reads the sequences. They are not part of a snapshot. Call this after reading the tables, so that no sequence is behind its table.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the query fails.
    pub async fn sequences(&mut self) -> Result<Vec<Sequence>, sqlx::Error> {
        let sql = "SELECT sequencename::text, last_value FROM pg_sequences
            WHERE schemaname = current_schema() AND last_value IS NOT NULL AND sequencename = ANY($1) ORDER BY 1";
        let own: Vec<String> = OWN.iter().map(|table| format!("{table}_id_seq")).collect();
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(own).fetch_all(&mut self.0).await?;
        Ok(rows.into_iter().map(|(name, last)| Sequence { name, last }).collect())
    }

    /// Returns one page of objects whose attachment ids are greater than `after`.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the query fails.
    pub async fn objects(&mut self, after: i64) -> Result<Vec<Object>, sqlx::Error> {
        let rows: Vec<ObjectRow> = sqlx::query_as(OBJECTS).bind(after).bind(ROWS).fetch_all(&mut self.0).await?;
        Ok(rows.into_iter().map(object).collect())
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// Returns a [`sqlx::Error`] if the connection is broken.
    pub async fn end(self) -> Result<(), sqlx::Error> {
        self.0.close().await
    }
}
