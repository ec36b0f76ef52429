//! Properties of a database, for diagnosis by `parley doctor`.

use parley_types::time::Micros;
use sea_orm::{ConnectionTrait, DbErr};

use super::{Database, migrate::SchemaStatus};

/// Properties of a database and its server.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The product and version of the database, such as `PostgreSQL 15.8` or `SQLite 3.46.0`.
    pub version: String,
    /// The major version of PostgreSQL; `None` for SQLite.
    pub postgres_major: Option<i64>,
    /// Whether the database rejects writes, because it is a standby or because it is set to read-only.
    pub read_only: bool,
    /// Whether the database user can create tables, which a server requires if migrations are missing.
    pub may_create: bool,
    /// The maximum number of connections that the server accepts from all clients; `None` for SQLite.
    pub max_connections: Option<i64>,
    /// How many microseconds the database's clock is ahead of this machine's.
    pub clock_ahead: i64,
    /// Whether this version of Parley can run on the schema.
    pub schema_status: SchemaStatus,
}

impl Database {
    /// Reads the properties of the database. Changes nothing.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if the query fails.
    pub async fn examine(&self) -> Result<Examination, DbErr> {
        let schema_status = self.schema_status().await?;
        let queries = self.dialect().server_queries();
        let before = Micros::now();
        let clock = self.clock().await?;
        let after = Micros::now();
        let version_number = self.maybe_number(queries.version_number).await?;
        Ok(Examination {
            version: format!("{} {}", queries.product, self.text(queries.version).await?),
            postgres_major: version_number.map(|number| number / 10_000),
            read_only: self.text(queries.read_only).await? != queries.writable,
            may_create: match queries.may_create {
                Some(sql) => self.text(sql).await? == "true",
                None => true,
            },
            max_connections: self.maybe_number(queries.max_connections).await?,
            clock_ahead: clock.map_or(0, |clock| clock.0 - before.0.midpoint(after.0)),
            schema_status,
        })
    }

    /// Reads the clock of the database server. Returns `None` for SQLite, which uses the clock of this machine.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if the query fails.
    pub async fn clock(&self) -> Result<Option<Micros>, DbErr> {
        let shown = self.maybe_number(self.dialect().server_queries().clock).await?;
        Ok(shown.map(Micros))
    }

    async fn query(&self, sql: &str) -> Result<Vec<sea_orm::QueryResult>, DbErr> {
        self.write().query_all_raw(self.dialect().unbound_statement(sql)).await
    }

    async fn text(&self, sql: &str) -> Result<String, DbErr> {
        let rows = self.query(sql).await?;
        rows.first()
            .ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?
            .try_get_by_index(0)
    }

    /// Runs a query that returns one number. Returns `None` if the dialect has no such query.
    async fn maybe_number(&self, sql: Option<&str>) -> Result<Option<i64>, DbErr> {
        let Some(sql) = sql else { return Ok(None) };
        let rows = self.query(sql).await?;
        rows.first()
            .ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?
            .try_get_by_index(0)
            .map(Some)
    }
}
