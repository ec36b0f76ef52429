//! Conversations are sorted by their last activity through the hour of it. Each message moves `last_activity_at`: were it in
//! an index, PostgreSQL would write a new entry into every index of the table for every message (no HOT update). The hour
//! moves once an hour, and sorts the same way.

use sea_orm_migration::prelude::*;

use super::columns::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // HOT updates compare what is stored; SQLite can only add columns that are not.
        let kind = match manager.get_database_backend() {
            sea_orm::DbBackend::Sqlite => "VIRTUAL",
            _ => "STORED",
        };
        manager
            .drop_index(
                Index::drop()
                    .name("conversations_account_id_last_activity_at")
                    .table(Alias::new("conversations"))
                    .to_owned(),
            )
            .await?;
        manager
            .get_connection()
            .execute_unprepared(&format!(
                "ALTER TABLE conversations ADD COLUMN activity_hour bigint GENERATED ALWAYS AS (last_activity_at / 3600000000) {kind}"
            ))
            .await?;
        manager.create_index(index("conversations", &["account_id", "activity_hour"])).await
    }
}
