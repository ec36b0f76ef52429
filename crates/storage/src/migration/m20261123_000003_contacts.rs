//! Creates the tables for contacts and their sessions. The unique indexes prevent duplicates when rows are inserted concurrently.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, flag, id, index, int, json, maybe_int, maybe_text, table, text, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let contacts = vec![
            id(),
            int("account_id"),
            text("name"),
            maybe_text("email"),
            maybe_text("phone_number"),
            maybe_text("identifier"),
            flag("blocked"),
            json("additional_attributes"),
            json("custom_attributes"),
            text("avatar_url"),
            maybe_int("last_activity_at"),
            int("created_at"),
            int("updated_at"),
            int("version"),
        ];
        manager.create_table(table("contacts", &[], contacts)).await?;
        manager.create_index(index("contacts", &["account_id", "id"])).await?;
        manager.create_index(unique("contacts", &["account_id", "email"])).await?;
        manager.create_index(unique("contacts", &["account_id", "phone_number"])).await?;
        manager.create_index(unique("contacts", &["account_id", "identifier"])).await?;
        let sessions = vec![
            id(),
            int("account_id"),
            int("contact_id"),
            int("inbox_id"),
            text("source_id"),
            flag("hmac_verified"),
            text("pubsub_token"),
            int("created_at"),
            int("updated_at"),
        ];
        let mut sessions = table("contact_inboxes", &[], sessions);
        sessions.foreign_key(&mut belongs("contact_inboxes", "contact_id", "contacts"));
        sessions.foreign_key(&mut belongs("contact_inboxes", "inbox_id", "inboxes"));
        manager.create_table(sessions).await?;
        manager
            .create_index(unique("contact_inboxes", &["account_id", "inbox_id", "source_id"]))
            .await?;
        manager
            .create_index(index("contact_inboxes", &["account_id", "contact_id"]))
            .await?;
        manager.create_index(index("contact_inboxes", &["account_id", "source_id"])).await?;
        manager.create_index(unique("contact_inboxes", &["pubsub_token"])).await?;
        Ok(())
    }
}
