//! Creates an index for finding labels regardless of case, as the contact filter compares them.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // CREATE INDEX CONCURRENTLY cannot run in a transaction. All statements are repeatable, so that a migration that failed halfway can be
    // run again.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let all = if manager.get_database_backend() == DbBackend::Sqlite {
            SQLITE
        } else {
            POSTGRES
        };
        for sql in all {
            connection.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}

/// Filters must use the same expression as this index, `LOWER(name)`.
const SQLITE: &[&str] = &["CREATE INDEX IF NOT EXISTS labelings_folded ON labelings (account_id, subject_kind, LOWER(name), subject_id)"];

const POSTGRES: &[&str] = &[
    "DROP INDEX CONCURRENTLY IF EXISTS labelings_folded",
    "CREATE INDEX CONCURRENTLY labelings_folded ON labelings (account_id, subject_kind, LOWER(name), subject_id)",
];
