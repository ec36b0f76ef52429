//! Creates the tables for inboxes, their API channels and their members.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, flag, id, index, int, json, kind, maybe_int, maybe_text, table, text, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let channels = vec![
            id(),
            int("account_id"),
            text("identifier"),
            text("hmac_token"),
            flag("hmac_mandatory"),
            maybe_text("webhook_url"),
            json("additional_attributes"),
            int("created_at"),
            int("updated_at"),
        ];
        manager.create_table(table("api_channels", &[], channels)).await?;
        manager.create_index(unique("api_channels", &["identifier"])).await?;
        let inboxes = vec![
            id(),
            int("account_id"),
            text("name"),
            kind("channel_type"),
            int("channel_id"),
            text("avatar_url"),
            flag("greeting_enabled"),
            maybe_text("greeting_message"),
            flag("working_hours_enabled"),
            json("working_hours"),
            maybe_text("out_of_office_message"),
            text("timezone"),
            flag("enable_email_collect"),
            flag("csat_survey_enabled"),
            json("csat_config"),
            flag("enable_auto_assignment"),
            json("auto_assignment_config"),
            flag("allow_messages_after_resolved"),
            flag("lock_to_single_conversation"),
            kind("sender_name_type"),
            maybe_text("business_name"),
            maybe_int("portal_id"),
            int("created_at"),
            int("updated_at"),
            int("version"),
        ];
        manager.create_table(table("inboxes", &[], inboxes)).await?;
        manager.create_index(index("inboxes", &["account_id", "id"])).await?;
        let members = vec![int("account_id"), int("inbox_id"), int("user_id"), int("created_at")];
        let mut members = table("inbox_members", &["account_id", "inbox_id", "user_id"], members);
        members.foreign_key(&mut belongs("inbox_members", "inbox_id", "inboxes"));
        members.foreign_key(&mut belongs("inbox_members", "user_id", "users"));
        manager.create_table(members).await?;
        manager.create_index(index("inbox_members", &["user_id"])).await?;
        Ok(())
    }
}
