//! Adds a column for the hour of a conversation's last activity, by which conversations are sorted. Each message changes
//! `last_activity_at`. If that column were indexed, PostgreSQL would write a new entry into every index of the table for every message (no
//! HOT update). The hour changes at most once an hour, and sorting by it preserves the order of activity.

use sea_orm_migration::prelude::*;

use super::columns::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // PostgreSQL needs a stored column, because it compares stored values to decide whether an update is HOT. SQLite needs a virtual
        // column, because it cannot add stored ones.
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
