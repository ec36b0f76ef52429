//! The contact session that uploaded a file: its uploads live shorter than those of members, and have a quota.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    // Uploads that wait are found by `attachments_state`, which holds few rows, so this needs no index of its own.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection
            .execute_unprepared("ALTER TABLE attachments ADD COLUMN contact_inbox_id bigint")
            .await?;
        Ok(())
    }
}
