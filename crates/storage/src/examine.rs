//! What a database says of itself, for whoever has to find out what is wrong with it.

use parley_types::time::Micros;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

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
        if self.backend() == DbBackend::Sqlite {
            return Ok(Examination {
                version: format!("SQLite {}", self.text("SELECT sqlite_version()").await?),
                postgres_major: None,
                read_only: self.text("SELECT CAST(query_only AS text) FROM pragma_query_only").await? != "0",
                may_create: true,
                max_connections: None,
                clock_ahead: 0,
                standing,
            });
        }
        let before = Micros::now();
        let clock = self.clock().await?.unwrap_or(before);
        let after = Micros::now();
        let version = self.number("SELECT CAST(current_setting('server_version_num') AS bigint)").await?;
        Ok(Examination {
            version: format!("PostgreSQL {}", self.text("SELECT current_setting('server_version')").await?),
            postgres_major: Some(version / 10_000),
            read_only: self
                .text("SELECT CAST(pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS text)")
                .await?
                == "true",
            may_create: self
                .text("SELECT CAST(has_schema_privilege(current_user, current_schema(), 'CREATE') AS text)")
                .await?
                == "true",
            max_connections: Some(self.number("SELECT CAST(current_setting('max_connections') AS bigint)").await?),
            clock_ahead: clock.0 - before.0.midpoint(after.0),
            standing,
        })
    }

    /// What the database's own clock shows. SQLite has none but this machine's.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn clock(&self) -> Result<Option<Micros>, DbErr> {
        if self.backend() == DbBackend::Sqlite {
            return Ok(None);
        }
        let shown = self.number("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)");
        Ok(Some(Micros(shown.await?)))
    }

    async fn query(&self, sql: &str) -> Result<Vec<sea_orm::QueryResult>, DbErr> {
        self.write().query_all_raw(Statement::from_string(self.backend(), sql)).await
    }

    async fn text(&self, sql: &str) -> Result<String, DbErr> {
        let rows = self.query(sql).await?;
        rows.first()
            .ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?
            .try_get_by_index(0)
    }

    async fn number(&self, sql: &str) -> Result<i64, DbErr> {
        let rows = self.query(sql).await?;
        rows.first()
            .ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?
            .try_get_by_index(0)
    }
}
