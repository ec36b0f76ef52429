//! Files: an attachment is first an upload that belongs to nobody, and a message takes it. And secrets of the installation.

use sea_orm_migration::prelude::*;

use super::columns::{bytes, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for column in [
            "state smallint NOT NULL DEFAULT 1",
            "object text",
            "file_name text NOT NULL DEFAULT ''",
            "content_type text NOT NULL DEFAULT ''",
            "thumb_size bigint",
            "position bigint NOT NULL DEFAULT 0",
        ] {
            connection
                .execute_unprepared(&format!("ALTER TABLE attachments ADD COLUMN {column}"))
                .await?;
        }
        // Only what waits to be taken or removed is looked for by its state.
        connection
            .execute_unprepared("CREATE INDEX attachments_state ON attachments (state, created_at) WHERE state <> 1")
            .await?;
        manager
            .create_table(table("secrets", &["name"], vec![text("name"), bytes("value")]))
            .await
    }
}
