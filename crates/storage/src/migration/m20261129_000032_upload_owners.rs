//! Adds the contact session that uploaded a file. Uploads by contact sessions expire earlier than uploads by members, and are subject to a
//! quota.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    // The new column needs no index, because unattached uploads are found through `attachments_state`, which contains few rows.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection
            .execute_unprepared("ALTER TABLE attachments ADD COLUMN contact_inbox_id bigint")
            .await?;
        Ok(())
    }
}
