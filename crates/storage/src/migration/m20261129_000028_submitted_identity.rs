//! Adds columns for the data that an unverified session has submitted about its contact, for another contact that may be the same person,
//! and for whether an inbox attaches unverified sessions to matching contacts.

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
        if !manager.has_column("contact_inboxes", "submitted").await? {
            let submitted = ColumnDef::new(Alias::new("submitted")).json_binary().null().take();
            let sessions = Table::alter().table(Alias::new("contact_inboxes")).add_column(submitted).take();
            manager.alter_table(sessions).await?;
        }
        if !manager.has_column("contact_inboxes", "possible_duplicate_id").await? {
            // The statement is written in SQL, because sea-query can add a foreign key to an existing table only on PostgreSQL.
            connection
                .execute_unprepared(
                    "ALTER TABLE contact_inboxes ADD COLUMN possible_duplicate_id bigint REFERENCES contacts (id) ON DELETE SET NULL",
                )
                .await?;
        }
        if !manager.has_column("api_channels", "attach_unverified_sessions").await? {
            let attach = ColumnDef::new(Alias::new("attach_unverified_sessions"))
                .boolean()
                .not_null()
                .default(true)
                .take();
            let channels = Table::alter().table(Alias::new("api_channels")).add_column(attach).take();
            manager.alter_table(channels).await?;
        }
        let index = if manager.get_database_backend() == DbBackend::Sqlite {
            SQLITE
        } else {
            POSTGRES
        };
        for sql in index {
            connection.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}

// This index is used when a contact is deleted, to find the sessions that refer to the contact as a possible duplicate.
const SQLITE: &[&str] = &[
    "CREATE INDEX IF NOT EXISTS contact_inboxes_possible_duplicate_id ON contact_inboxes (possible_duplicate_id)
        WHERE possible_duplicate_id IS NOT NULL",
];

const POSTGRES: &[&str] = &[
    "DROP INDEX CONCURRENTLY IF EXISTS contact_inboxes_possible_duplicate_id",
    "CREATE INDEX CONCURRENTLY contact_inboxes_possible_duplicate_id ON contact_inboxes (possible_duplicate_id)
        WHERE possible_duplicate_id IS NOT NULL",
];
