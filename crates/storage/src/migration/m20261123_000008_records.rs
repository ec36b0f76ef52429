//! Creates the tables for an account's records: custom attribute definitions, canned responses, and notes about contacts.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, id, index, int, json, kind, maybe_int, maybe_text, table, text, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let definitions = vec![
            id(),
            int("account_id"),
            kind("model"),
            text("key"),
            text("display_name"),
            kind("display_type"),
            maybe_text("description"),
            json("choices"),
            maybe_text("regex_pattern"),
            maybe_text("regex_cue"),
            int("created_at"),
            int("updated_at"),
        ];
        manager
            .create_table(table("custom_attribute_definitions", &[], definitions))
            .await?;
        let key = unique("custom_attribute_definitions", &["account_id", "model", "key"]);
        manager.create_index(key).await?;
        let responses = vec![
            id(),
            int("account_id"),
            text("short_code"),
            text("content"),
            int("created_at"),
            int("updated_at"),
        ];
        manager.create_table(table("canned_responses", &[], responses)).await?;
        manager
            .create_index(unique("canned_responses", &["account_id", "short_code"]))
            .await?;
        let notes = vec![
            id(),
            int("account_id"),
            int("contact_id"),
            maybe_int("user_id"),
            text("content"),
            int("created_at"),
            int("updated_at"),
        ];
        let mut notes = table("contact_notes", &[], notes);
        notes.foreign_key(&mut belongs("contact_notes", "contact_id", "contacts"));
        manager.create_table(notes).await?;
        manager
            .create_index(index("contact_notes", &["account_id", "contact_id", "id"]))
            .await?;
        Ok(())
    }
}
