//! What an unverified session has submitted of itself, the contact that it may be a duplicate of, and whether an inbox attaches such
//! sessions to the contacts that they match.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let submitted = ColumnDef::new(Alias::new("submitted")).json_binary().null().take();
        let sessions = || Table::alter().table(Alias::new("contact_inboxes")).take();
        manager.alter_table(sessions().add_column(submitted).take()).await?;
        let connection = manager.get_connection();
        // Spelled out: sea-query adds a foreign key to an existing table on PostgreSQL only. The partial index serves the deletion of a
        // contact, which looks for rows that name it.
        for sql in [
            "ALTER TABLE contact_inboxes ADD COLUMN possible_duplicate_id bigint REFERENCES contacts (id) ON DELETE SET NULL",
            "CREATE INDEX contact_inboxes_possible_duplicate_id ON contact_inboxes (possible_duplicate_id)
                WHERE possible_duplicate_id IS NOT NULL",
        ] {
            connection.execute_unprepared(sql).await?;
        }
        let attach = ColumnDef::new(Alias::new("attach_unverified_sessions"))
            .boolean()
            .not_null()
            .default(true)
            .take();
        let channels = Table::alter().table(Alias::new("api_channels")).add_column(attach).take();
        manager.alter_table(channels).await
    }
}
