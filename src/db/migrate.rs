//! Bringing tables up to this program, and which programs work on which tables.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};

use super::{
    Database, OpenError,
    migration::{FLOOR, Migrator},
};

/// The number that replicas lock in PostgreSQL while they migrate; any constant that nothing else uses.
const MIGRATION_LOCK: i64 = 0x7061_726c_6579;

/// How often a replica that waits for another's migrations asks.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// Where the migrations that were run are listed; the library's.
const SEEN: &str = "seaql_migrations";

/// Where the oldest program that works on the tables is named.
const SCHEMA_FLOOR: &str = "schema_floor";

/// How a database and this program go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The tables are those of this program.
    Same,
    /// They lack so many migrations.
    Behind(usize),
    /// A newer program migrated them, so that this one works on them: it has run this migration, among others.
    Newer(String),
    /// A newer program migrated them, and this one does not work on them.
    TooNew(String),
}

impl Database {
    /// Brings the tables up to this version, alone among all replicas. Tables of a newer one that this one works on are left as they are.
    ///
    /// # Errors
    /// [`OpenError::Newer`] and nothing was touched; [`OpenError::Migration`]; [`OpenError::Unreachable`].
    pub async fn migrate(&self) -> Result<(), OpenError> {
        if self.backend() == DbBackend::Sqlite {
            return self.migrate_alone().await;
        }
        // An advisory lock belongs to its connection, so it needs one of its own.
        let pool = self.write().get_postgres_connection_pool();
        let unreachable = |error: sqlx::Error| OpenError::Unreachable(DbErr::Custom(error.to_string()));
        let mut connection = pool.acquire().await.map_err(unreachable)?;
        // Asked for again and again: an index that is built beside writes waits for the statements of all others, also for one that waits.
        let lock = || sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)").bind(MIGRATION_LOCK);
        while !lock().fetch_one(&mut *connection).await.map_err(unreachable)? {
            tokio::time::sleep(LOCK_RETRY).await;
        }
        let migrated = self.migrate_alone().await;
        let unlocked = sqlx::query("SELECT pg_advisory_unlock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *connection)
            .await;
        migrated?;
        unlocked.map(drop).map_err(unreachable)
    }

    /// Makes sure that this version works on the tables, and changes nothing.
    ///
    /// # Errors
    /// [`OpenError::Behind`]; [`OpenError::Newer`]; [`OpenError::Unreachable`].
    pub async fn is_migrated(&self) -> Result<(), OpenError> {
        match self.standing().await.map_err(OpenError::Unreachable)? {
            Standing::Same => Ok(()),
            Standing::Behind(count) => Err(OpenError::Behind(count)),
            newer => serve_on(newer),
        }
    }

    /// The first of these migrations that this program does not know.
    pub fn unknown_migration(migrations: &[String]) -> Option<String> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        migrations.iter().find(|name| !known.contains(name)).cloned()
    }

    /// Brings the tables to those of a database with exactly these migrations, of which this one has none or the first ones.
    ///
    /// # Errors
    /// [`OpenError::Migration`]; [`OpenError::Newer`] when other migrations would be run.
    pub async fn migrate_to(&self, migrations: &[String]) -> Result<(), OpenError> {
        let sql = "SELECT version FROM seaql_migrations ORDER BY version";
        let seen = self.texts(SEEN, sql).await.map_err(OpenError::Migration)?;
        let missing = migrations.len().saturating_sub(seen.len());
        if missing > 0 {
            let steps = u32::try_from(missing).unwrap_or(u32::MAX);
            Migrator::up(self.write(), Some(steps)).await.map_err(OpenError::Migration)?;
        }
        let seen = self.texts(SEEN, sql).await.map_err(OpenError::Migration)?;
        match seen.iter().find(|name| !migrations.contains(name)) {
            Some(other) => Err(OpenError::Newer(other.clone())),
            None => Ok(()),
        }
    }

    async fn migrate_alone(&self) -> Result<(), OpenError> {
        match self.standing().await.map_err(OpenError::Unreachable)? {
            Standing::Same | Standing::Behind(_) => {}
            newer => return serve_on(newer),
        }
        let manager = SchemaManager::new(self.write());
        // Before anything is taken away: a program that needs it must not start from here on.
        if manager.has_table(SCHEMA_FLOOR).await.map_err(OpenError::Migration)? {
            self.raise_floor().await.map_err(OpenError::Migration)?;
        }
        Migrator::up(self.write(), None).await.map_err(OpenError::Migration)?;
        self.raise_floor().await.map_err(OpenError::Migration)
    }

    async fn raise_floor(&self) -> Result<(), DbErr> {
        let sql = "INSERT INTO schema_floor (id, migration) VALUES (1, $1)
            ON CONFLICT (id) DO UPDATE SET migration = excluded.migration WHERE schema_floor.migration < excluded.migration";
        let statement = Statement::from_sql_and_values(self.backend(), sql, [FLOOR.into()]);
        self.write().execute_raw(statement).await.map(drop)
    }

    /// How the tables and this program go together. Changes nothing.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn standing(&self) -> Result<Standing, DbErr> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        let seen = self
            .texts(SEEN, "SELECT version FROM seaql_migrations ORDER BY version DESC")
            .await?;
        let behind = known.iter().filter(|name| !seen.contains(name)).count();
        let Some(newer) = seen.into_iter().find(|name| !known.contains(name)) else {
            return Ok(if behind == 0 { Standing::Same } else { Standing::Behind(behind) });
        };
        // Names begin with day and number, so they sort as they are run.
        let floor = self.texts(SCHEMA_FLOOR, "SELECT migration FROM schema_floor").await?;
        let reached = |floor: &String| known.last().is_some_and(|newest| newest >= floor);
        Ok(if behind == 0 && floor.first().is_some_and(reached) {
            Standing::Newer(newer)
        } else {
            Standing::TooNew(newer)
        })
    }

    /// The first column of a table that may not be there yet.
    async fn texts(&self, table: &str, sql: &str) -> Result<Vec<String>, DbErr> {
        if !SchemaManager::new(self.write()).has_table(table).await? {
            return Ok(Vec::new());
        }
        let rows = self.write().query_all_raw(Statement::from_string(self.backend(), sql)).await?;
        rows.iter().map(|row| row.try_get_by_index(0)).collect()
    }
}

/// Whether to start on tables that are not this program's own.
fn serve_on(standing: Standing) -> Result<(), OpenError> {
    match standing {
        Standing::Same | Standing::Behind(_) => Ok(()),
        Standing::Newer(migration) => {
            tracing::warn!(
                migration,
                "the database is newer than this parley, which works on it and changes no table: finish the upgrade, or the way back"
            );
            Ok(())
        }
        Standing::TooNew(name) => Err(OpenError::Newer(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_run_in_the_order_of_their_names() {
        let names: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        assert!(names.is_sorted_by(|before, after| before < after), "{names:?}");
        assert!(names.iter().any(|name| name == FLOOR), "{FLOOR}");
    }
}
