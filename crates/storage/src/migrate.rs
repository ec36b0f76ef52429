//! Bringing tables up to this program, and which programs work on which tables.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};

use super::{
    Database, OpenError, advisory,
    migration::{FLOOR, Migrator},
};

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

/// Migrations of another order than this program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// A migration that is missing.
    pub lacks: String,
    /// One that this program runs after it, and that is there.
    pub has: String,
}

impl Database {
    /// Brings the tables up to this version, alone among all replicas. Tables of a newer one that this one works on are left as they are.
    ///
    /// # Errors
    /// [`OpenError::Newer`] and nothing was touched; [`OpenError::Migration`]; [`OpenError::Unreachable`].
    pub async fn migrate(&self) -> Result<(), OpenError> {
        if !self.dialect().is_shared() {
            return self.migrate_locked().await;
        }
        // An advisory lock belongs to its connection, so it needs one of its own.
        let pool = self.write().get_postgres_connection_pool();
        let unreachable = |error: sqlx::Error| OpenError::Unreachable(DbErr::Custom(error.to_string()));
        let mut connection = pool.acquire().await.map_err(unreachable)?;
        // Asked for again and again: an index that is built beside writes waits for the statements of all others, also for one that waits.
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

    /// The first gap in the migrations of a database: one that it lacks, before one that it has. This program runs them in order, so none of its
    /// own line has a gap.
    pub fn gap(migrations: &[String]) -> Option<Gap> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        let lacks = known.iter().position(|name| !migrations.contains(name))?;
        let has = known[lacks..].iter().find(|name| migrations.contains(name))?;
        Some(Gap {
            lacks: known[lacks].clone(),
            has: has.clone(),
        })
    }

    /// Brings the tables to those of a database with exactly these migrations, which are the first ones of this program. The caller holds
    /// [`advisory::MIGRATION`].
    ///
    /// # Errors
    /// [`OpenError::Migration`]; [`OpenError::Newer`] when the database has another migration.
    pub async fn migrate_to(&self, migrations: &[String]) -> Result<(), OpenError> {
        let sql = "SELECT version FROM seaql_migrations ORDER BY version";
        let seen = self.texts(SEEN, sql).await.map_err(OpenError::Migration)?;
        if let Some(other) = seen.iter().find(|name| !migrations.contains(name)) {
            return Err(OpenError::Newer(other.clone()));
        }
        let missing = migrations.iter().filter(|name| !seen.contains(name)).count();
        if missing > 0 {
            let steps = u32::try_from(missing).unwrap_or(u32::MAX);
            Migrator::up(self.write(), Some(steps)).await.map_err(OpenError::Migration)?;
        }
        let seen = self.texts(SEEN, sql).await.map_err(OpenError::Migration)?;
        match migrations.iter().find(|name| !seen.contains(name)) {
            Some(lacking) => Err(OpenError::Migration(DbErr::Custom(format!(
                "the migration {lacking} was not among those that were run"
            )))),
            None => Ok(()),
        }
    }

    /// The same, where the caller holds [`advisory::MIGRATION`], or a file that nobody else has.
    ///
    /// # Errors
    /// As [`Database::migrate`].
    pub async fn migrate_locked(&self) -> Result<(), OpenError> {
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
        let statement = self.dialect().statement(sql, [FLOOR.into()]);
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
        let rows = self.write().query_all_raw(self.dialect().unbound_statement(sql)).await?;
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

    fn names() -> Vec<String> {
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
    }

    #[test]
    fn migrations_are_run_in_the_order_of_their_names() {
        let names = names();
        assert!(names.is_sorted_by(|before, after| before < after), "{names:?}");
        assert!(names.iter().any(|name| name == FLOOR), "{FLOOR}");
    }

    /// Databases and backups have the first migrations of this list. One that sorts before another would never be their next, and backups from
    /// before it would have a gap.
    #[test]
    fn a_new_migration_sorts_last() {
        let known = include_str!("migration/order.txt");
        let known: Vec<&str> = known.lines().collect();
        let names = names();
        let common = known.len().min(names.len());
        assert_eq!(
            names[..common],
            known[..common],
            "a new migration has to sort after {:?}",
            known.last()
        );
        assert_eq!(
            names.len(),
            known.len(),
            "add the new migration as the last line of crates/storage/src/migration/order.txt"
        );
    }

    #[test]
    fn a_gap_is_found_by_names() {
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
        // As many as this program has first, and others.
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
