//! Creates the tables for conversations, messages, attachments and labels.

use sea_orm_migration::prelude::*;

use super::columns::{flag, id, index, int, json, kind, maybe_int, maybe_text, table, text, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let conversations = vec![
            int("account_id"),
            int("id"),
            ColumnDef::new(Alias::new("uuid")).uuid().not_null().take(),
            int("inbox_id"),
            int("contact_id"),
            int("contact_inbox_id"),
            kind("status"),
            ColumnDef::new(Alias::new("priority")).small_integer().null().take(),
            maybe_int("assignee_id"),
            maybe_int("snoozed_until"),
            json("additional_attributes"),
            json("custom_attributes"),
            maybe_int("agent_last_seen_at"),
            maybe_int("assignee_last_seen_at"),
            maybe_int("contact_last_seen_at"),
            maybe_int("first_reply_created_at"),
            maybe_int("waiting_since"),
            int("last_activity_at"),
            maybe_int("last_incoming_at"),
            int("unread_count"),
            int("message_count"),
            maybe_int("last_message_id"),
            maybe_int("last_non_activity_message_id"),
            maybe_int("last_public_message_id"),
            int("created_at"),
            int("updated_at"),
            int("version"),
        ];
        manager
            .create_table(table("conversations", &["account_id", "id"], conversations))
            .await?;
        manager
            .create_index(index("conversations", &["account_id", "last_activity_at"]))
            .await?;
        manager.create_index(index("conversations", &["account_id", "contact_id"])).await?;
        manager
            .create_index(index("conversations", &["account_id", "contact_inbox_id"]))
            .await?;
        let messages = vec![
            int("account_id"),
            int("id"),
            int("conversation_id"),
            int("number"),
            int("inbox_id"),
            kind("message_type"),
            maybe_text("content"),
            kind("content_type"),
            json("content_attributes"),
            kind("status"),
            flag("private"),
            maybe_text("source_id"),
            maybe_text("unique_source_id"),
            ColumnDef::new(Alias::new("sender_type")).small_integer().null().take(),
            maybe_int("sender_id"),
            json("additional_attributes"),
            int("created_at"),
            int("updated_at"),
            int("version"),
        ];
        manager.create_table(table("messages", &["account_id", "id"], messages)).await?;
        manager
            .create_index(index("messages", &["account_id", "conversation_id", "id"]))
            .await?;
        // This index is partial, because most messages have no unique source id, and inserting them should not update the index.
        let connection = manager.get_connection();
        connection
            .execute_unprepared(
                "CREATE UNIQUE INDEX messages_unique_source_id ON messages (account_id, inbox_id, unique_source_id) \
                 WHERE unique_source_id IS NOT NULL",
            )
            .await?;
        if manager.get_database_backend() == sea_orm::DbBackend::Postgres {
            // Each message updates its conversation. Leave space on the page for the new row version of the conversation, so that the
            // update can be HOT.
            connection
                .execute_unprepared("ALTER TABLE conversations SET (fillfactor = 70)")
                .await?;
        }
        let attachments = vec![
            id(),
            int("account_id"),
            int("message_id"),
            kind("file_type"),
            maybe_text("extension"),
            text("data_url"),
            text("thumb_url"),
            maybe_int("file_size"),
            ColumnDef::new(Alias::new("width")).integer().null().take(),
            ColumnDef::new(Alias::new("height")).integer().null().take(),
            ColumnDef::new(Alias::new("latitude")).double().null().take(),
            ColumnDef::new(Alias::new("longitude")).double().null().take(),
            maybe_text("fallback_title"),
            json("meta"),
            int("created_at"),
        ];
        manager.create_table(table("attachments", &[], attachments)).await?;
        manager.create_index(index("attachments", &["account_id", "message_id"])).await?;
        let labels = vec![
            id(),
            int("account_id"),
            text("title"),
            maybe_text("description"),
            text("color"),
            ColumnDef::new(Alias::new("show_on_sidebar")).boolean().null().take(),
            int("created_at"),
            int("updated_at"),
        ];
        manager.create_table(table("labels", &[], labels)).await?;
        manager.create_index(unique("labels", &["account_id", "title"])).await?;
        let labelings = vec![
            int("account_id"),
            kind("subject_kind"),
            int("subject_id"),
            text("name"),
            ColumnDef::new(Alias::new("position")).integer().not_null().take(),
        ];
        manager
            .create_table(table("labelings", &["account_id", "subject_kind", "subject_id", "name"], labelings))
            .await?;
        manager
            .create_index(index("labelings", &["account_id", "subject_kind", "name"]))
            .await?;
        Ok(())
    }
}
