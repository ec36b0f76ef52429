//! Adds files to attachments. An attachment is an upload until a message attaches it. Also creates the table for the secrets of the
//! installation.

use sea_orm_migration::prelude::*;

use super::columns::{bytes, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
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
        // This index is partial, because only uploads and removed attachments are looked up by state.
        connection
            .execute_unprepared("CREATE INDEX attachments_state ON attachments (state, created_at) WHERE state <> 1")
            .await?;
        manager
            .create_table(table("secrets", &["name"], vec![text("name"), bytes("value")]))
            .await
    }
}
