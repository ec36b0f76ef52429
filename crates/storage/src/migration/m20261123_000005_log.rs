//! Creates the tables for the event log: its counters, its events, and the stored responses of idempotent requests.

use sea_orm_migration::prelude::*;

use super::columns::{bytes, index, int, kind, maybe_int, table};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let logs = vec![
            int("account_id"),
            int("epoch"),
            int("head_seq"),
            int("earliest_seq"),
            int("last_conversation_id"),
            int("last_message_id"),
            int("last_occurred_at"),
        ];
        manager.create_table(table("account_logs", &["account_id"], logs)).await?;
        let events = vec![
            int("account_id"),
            int("seq"),
            int("transaction_id"),
            kind("kind"),
            maybe_int("inbox_id"),
            maybe_int("conversation_id"),
            maybe_int("contact_id"),
            ColumnDef::new(Alias::new("message_type")).small_integer().null().take(),
            ColumnDef::new(Alias::new("private")).boolean().null().take(),
            int("occurred_at"),
            bytes("payload"),
        ];
        manager.create_table(table("events", &["account_id", "seq"], events)).await?;
        let keys = vec![
            int("account_id"),
            ColumnDef::new(Alias::new("request_id")).uuid().not_null().take(),
            bytes("fingerprint"),
            bytes("response"),
            int("created_at"),
        ];
        manager
            .create_table(table("idempotency_keys", &["account_id", "request_id"], keys))
            .await?;
        manager.create_index(index("idempotency_keys", &["created_at"])).await?;
        if manager.get_database_backend() == sea_orm::DbBackend::Postgres {
            // Every write updates a counter row. Leave space on the page for new row versions, so that the updates are HOT and do not touch
            // the index.
            manager
                .get_connection()
                .execute_unprepared("ALTER TABLE account_logs SET (fillfactor = 10)")
                .await?;
        }
        Ok(())
    }
}
