//! Migrates the schema of the database, and determines which versions of Parley can run on which schema.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};

use super::{
    Database, OpenError, advisory,
    migration::{FLOOR, Migrator},
};

/// How often a replica polls the migration lock while another replica runs migrations.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// The table of completed migrations, which the migration library maintains.
const MIGRATION_TABLE: &str = "seaql_migrations";

/// The table that names the oldest version of Parley that can run on the schema.
const SCHEMA_FLOOR: &str = "schema_floor";

/// Whether this version of Parley can run on the schema of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaStatus {
    /// The schema is exactly the schema of this version.
    Same,
    /// The schema lacks this many migrations of this version.
    Behind(usize),
    /// A newer version has migrated the database, but this version can run on the schema. Contains the name of a migration that this
    /// version does not know.
    Newer(String),
    /// A newer version has migrated the database, and this version cannot run on the schema. Contains the name of a migration that this
    /// version does not know.
    TooNew(String),
}

/// A gap in the migrations that a database has run: they were not run in the order that this version defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The migration that is missing.
    pub lacks: String,
    /// A migration that was run although it comes after the missing migration.
    pub has: String,
}

impl Database {
    /// Migrates the schema to this version, while holding the migration lock. If the schema is newer and this version can run on it, the
    /// schema is left unchanged.
    ///
    /// # Errors
    /// Returns [`OpenError::Newer`] if this version cannot run on the schema, in which case nothing was changed, [`OpenError::Migration`]
    /// if a migration fails, and [`OpenError::Unreachable`] if the connection fails.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        if !self.dialect().is_shared() {
            return self.migrate_locked().await;
        }
        // Acquire a connection for the lock, because a session-level advisory lock belongs to a connection.
        let pool = self.write().get_postgres_connection_pool();
        let unreachable = |error: sqlx::Error| OpenError::Unreachable(DbErr::Custom(error.to_string()));
        let mut connection = pool.acquire().await.map_err(unreachable)?;
        // Poll instead of blocking: CREATE INDEX CONCURRENTLY waits for all running statements, so it would deadlock with a statement that
        // waits for this lock.
        let lock = || sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)").bind(advisory::MIGRATION);
        while !lock().fetch_one(&mut *connection).await.map_err(unreachable)? {
            tokio::time::sleep(LOCK_RETRY).await;
        }
        let migrated = self.migrate_locked().await;
        let unlocked = sqlx::query("SELECT pg_advisory_unlock($1)")
            .bind(advisory::MIGRATION)
            .execute(&mut *connection)
            .await;
        migrated?;
        unlocked.map(drop).map_err(unreachable)
    }

    /// Checks that this version can run on the schema. Changes nothing.
    ///
    /// # Errors
    /// Returns [`OpenError::Behind`] if migrations are missing, [`OpenError::Newer`] if this version cannot run on a newer schema, and
    /// [`OpenError::Unreachable`] if a query fails.
    pub async fn is_migrated(&self) -> Result<(), OpenError> {
        match self.schema_status().await.map_err(OpenError::Unreachable)? {
            SchemaStatus::Same => Ok(()),
            SchemaStatus::Behind(count) => Err(OpenError::Behind(count)),
            newer => serve_on(newer),
        }
    }

    /// Returns the first of these migrations that this version does not know.
    pub fn unknown_migration(migrations: &[String]) -> Option<String> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        migrations.iter().find(|name| !known.contains(name)).cloned()
    }

    /// Returns the first gap in the migrations of a database: a migration that is missing although a later migration was run. Migrations
    /// run in order, so a database that was migrated only by released versions has no gap.
    pub fn gap(migrations: &[String]) -> Option<Gap> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        let lacks = known.iter().position(|name| !migrations.contains(name))?;
        let has = known[lacks..].iter().find(|name| migrations.contains(name))?;
        Some(Gap {
            lacks: known[lacks].clone(),
            has: has.clone(),
        })
    }

    /// Migrates the schema until exactly these migrations have been run, which must be the first migrations of this version. The caller
    /// must hold [`advisory::MIGRATION`].
    ///
    /// # Errors
    /// Returns [`OpenError::Migration`] if a migration fails, and [`OpenError::Newer`] if the database has a migration that is not in the
    /// list.
    pub async fn migrate_to(&self, migrations: &[String]) -> Result<(), OpenError> {
        let sql = "SELECT version FROM seaql_migrations ORDER BY version";
        let seen = self.texts(MIGRATION_TABLE, sql).await.map_err(OpenError::Migration)?;
        if let Some(other) = seen.iter().find(|name| !migrations.contains(name)) {
            return Err(OpenError::Newer(other.clone()));
        }
        let missing = migrations.iter().filter(|name| !seen.contains(name)).count();
        if missing > 0 {
            let steps = u32::try_from(missing).unwrap_or(u32::MAX);
            Migrator::up(self.write(), Some(steps)).await.map_err(OpenError::Migration)?;
        }
        let seen = self.texts(MIGRATION_TABLE, sql).await.map_err(OpenError::Migration)?;
        match migrations.iter().find(|name| !seen.contains(name)) {
            Some(lacking) => Err(OpenError::Migration(DbErr::Custom(format!(
                "the migration {lacking} has not been applied"
            )))),
            None => Ok(()),
        }
    }

    /// Like [`Self::migrate`], for a caller that holds [`advisory::MIGRATION`] or has exclusive access to the file.
    ///
    /// # Errors
    /// Returns the same errors as [`Database::migrate`].
    pub async fn migrate_locked(&self) -> Result<(), OpenError> {
        match self.schema_status().await.map_err(OpenError::Unreachable)? {
            SchemaStatus::Same | SchemaStatus::Behind(_) => {}
            newer => return serve_on(newer),
        }
        let manager = SchemaManager::new(self.write());
        // Raise the floor (the oldest version that can run on the schema) before a migration removes anything, so that versions that still
        // need the removed parts can no longer start.
        if manager.has_table(SCHEMA_FLOOR).await.map_err(OpenError::Migration)? {
            self.raise_floor().await.map_err(OpenError::Migration)?;
        }
        Migrator::up(self.write(), None).await.map_err(OpenError::Migration)?;
        self.raise_floor().await.map_err(OpenError::Migration)
    }

    async fn raise_floor(&self) -> Result<(), DbErr> {
        let sql = "INSERT INTO schema_floor (id, migration) VALUES (1, $1)
            ON CONFLICT (id) DO UPDATE SET migration = excluded.migration WHERE schema_floor.migration < excluded.migration";
        let statement = self.dialect().statement(sql, [FLOOR.into()]);
        self.write().execute_raw(statement).await.map(drop)
    }

    /// Determines whether this version can run on the schema. Changes nothing.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if the query fails.
    pub async fn schema_status(&self) -> Result<SchemaStatus, DbErr> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        let seen = self
            .texts(MIGRATION_TABLE, "SELECT version FROM seaql_migrations ORDER BY version DESC")
            .await?;
        let behind = known.iter().filter(|name| !seen.contains(name)).count();
        let Some(newer) = seen.into_iter().find(|name| !known.contains(name)) else {
            return Ok(if behind == 0 {
                SchemaStatus::Same
            } else {
                SchemaStatus::Behind(behind)
            });
        };
        // The name of a migration begins with its date and number, so the names sort in the order of the migrations.
        let floor = self.texts(SCHEMA_FLOOR, "SELECT migration FROM schema_floor").await?;
        let reached = |floor: &String| known.last().is_some_and(|newest| newest >= floor);
        Ok(if behind == 0 && floor.first().is_some_and(reached) {
            SchemaStatus::Newer(newer)
        } else {
            SchemaStatus::TooNew(newer)
        })
    }

    /// Reads the first column of a table. Returns no rows if the table does not exist.
    async fn texts(&self, table: &str, sql: &str) -> Result<Vec<String>, DbErr> {
        if !SchemaManager::new(self.write()).has_table(table).await? {
            return Ok(Vec::new());
        }
        let rows = self.write().query_all_raw(self.dialect().unbound_statement(sql)).await?;
        rows.iter().map(|row| row.try_get_by_index(0)).collect()
    }
}

/// Decides whether to start although the schema is not exactly the schema of this version.
fn serve_on(schema_status: SchemaStatus) -> Result<(), OpenError> {
    match schema_status {
        SchemaStatus::Same | SchemaStatus::Behind(_) => Ok(()),
        SchemaStatus::Newer(migration) => {
            tracing::warn!(
                migration,
                "the database schema is newer than this version of Parley, but compatible; running without migrating; finish the upgrade or roll back completely"
            );
            Ok(())
        }
        SchemaStatus::TooNew(name) => Err(OpenError::Newer(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
    }

    #[test]
    fn migrations_run_in_name_order() {
        let names = names();
        assert!(names.is_sorted_by(|before, after| before < after), "{names:?}");
        assert!(names.iter().any(|name| name == FLOOR), "{FLOOR}");
    }

    /// The migrations of every database and backup of a release are a prefix of this list. A new migration that sorted before one of them
    /// would never run on an existing database, and backups made before it would have a gap.
    #[test]
    fn new_migration_sorts_last() {
        let released = include_str!("migration/released.txt");
        let released: Vec<&str> = released.lines().collect();
        let names = names();
        assert_eq!(
            names[..released.len().min(names.len())],
            released,
            "a new migration has to sort after {:?}, the last one of a release",
            released.last()
        );
    }

    #[test]
    fn missing_migration_is_detected_by_name() {
        let names = names();
        for count in 0..=names.len() {
            assert_eq!(Database::gap(&names[..count]), None, "{count}");
        }
        let mut forked = names.clone();
        let lacks = forked.remove(3);
        assert_eq!(
            Database::gap(&forked),
            Some(Gap {
                lacks,
                has: names[4].clone()
            })
        );
        // As many migrations as this version knows, but not the same.
        forked.truncate(5);
        assert!(Database::gap(&forked).is_some());
        assert_eq!(Database::unknown_migration(&forked), None);
        forked.push("m20990101_000999_of_another_line".to_owned());
        assert_eq!(
            Database::unknown_migration(&forked).as_deref(),
            Some("m20990101_000999_of_another_line")
        );
    }
}
