//! Creates the tables for accounts, users, memberships and tokens.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, bytes, flag, id, index, int, json, kind, maybe_int, maybe_text, table, text, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let accounts = vec![
            id(),
            text("name"),
            text("locale"),
            kind("status"),
            int("created_at"),
            int("updated_at"),
        ];
        manager.create_table(table("accounts", &[], accounts)).await?;
        let users = vec![
            id(),
            text("name"),
            maybe_text("display_name"),
            text("email"),
            text("avatar_url"),
            json("custom_attributes"),
            json("ui_settings"),
            maybe_text("message_signature"),
            text("pubsub_token"),
            int("created_at"),
            int("updated_at"),
        ];
        manager.create_table(table("users", &[], users)).await?;
        manager.create_index(unique("users", &["email"])).await?;
        let memberships = vec![
            int("account_id"),
            int("user_id"),
            kind("role"),
            kind("availability"),
            flag("auto_offline"),
            maybe_int("active_at"),
            maybe_int("inviter_id"),
            int("created_at"),
            int("updated_at"),
        ];
        let mut memberships = table("memberships", &["account_id", "user_id"], memberships);
        memberships.foreign_key(&mut belongs("memberships", "account_id", "accounts"));
        memberships.foreign_key(&mut belongs("memberships", "user_id", "users"));
        manager.create_table(memberships).await?;
        manager.create_index(index("memberships", &["user_id"])).await?;
        let tokens = vec![
            id(),
            kind("kind"),
            text("name"),
            bytes("hash"),
            maybe_int("user_id"),
            maybe_int("account_id"),
            flag("read_only"),
            json("inbox_ids"),
            maybe_int("expires_at"),
            maybe_int("revoked_at"),
            int("created_at"),
        ];
        manager.create_table(table("tokens", &[], tokens)).await?;
        manager.create_index(unique("tokens", &["hash"])).await?;
        manager.create_index(index("tokens", &["account_id"])).await?;
        manager.create_index(index("tokens", &["user_id"])).await?;
        Ok(())
    }
}
