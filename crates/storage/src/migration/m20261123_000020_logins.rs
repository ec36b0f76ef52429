//! Creates the table for unused login links.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, bytes, index, int, table, unique};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut logins = table("logins", &["hash"], vec![bytes("hash"), int("user_id"), int("expires_at")]);
        logins.foreign_key(&mut belongs("logins", "user_id", "users"));
        manager.create_table(logins).await?;
        // The WebSocket looks up users by their pubsub token.
        manager.create_index(unique("users", &["pubsub_token"])).await?;
        manager.create_index(index("logins", &["user_id"])).await?;
        manager.create_index(index("logins", &["expires_at"])).await
    }
}
