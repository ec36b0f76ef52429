//! What a database says of itself, for whoever has to find out what is wrong with it.

use parley_types::time::Micros;
use sea_orm::{ConnectionTrait, DbErr};

use super::{Database, migrate::Standing};

/// What a database says of itself.
#[derive(Clone, Debug)]
pub struct Examination {
    /// Such as `PostgreSQL 15.8` or `SQLite 3.46.0`.
    pub version: String,
    /// The major number of PostgreSQL; none of SQLite.
    pub postgres_major: Option<i64>,
    /// A standby, or a database that was set to be read only.
    pub read_only: bool,
    /// Whether tables may be made; a server that finds the database behind has to.
    pub may_create: bool,
    /// Connections that it takes from all its clients; none of SQLite.
    pub max_connections: Option<i64>,
    /// By how many microseconds its clock is ahead of this machine's.
    pub clock_ahead: i64,
    /// How its tables and this program go together.
    pub standing: Standing,
}

impl Database {
    /// Asks the database about itself. Changes nothing.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn examine(&self) -> Result<Examination, DbErr> {
        let standing = self.standing().await?;
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
            standing,
        })
    }

    /// What the database's own clock shows. SQLite has none but this machine's.
    ///
    /// # Errors
    /// When it does not answer.
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

    /// The answer to a query that not every database has.
    async fn maybe_number(&self, sql: Option<&str>) -> Result<Option<i64>, DbErr> {
        let Some(sql) = sql else { return Ok(None) };
        let rows = self.query(sql).await?;
        rows.first()
            .ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?
            .try_get_by_index(0)
            .map(Some)
    }
}
