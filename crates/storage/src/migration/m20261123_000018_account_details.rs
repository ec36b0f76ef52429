//! Adds the account details that the operator maintains.

use sea_orm_migration::prelude::*;

use super::columns::{json, maybe_text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let object = |name| json(name).default("{}").to_owned();
        for column in [
            maybe_text("domain"),
            maybe_text("support_email"),
            object("features"),
            object("limits"),
            object("custom_attributes"),
        ] {
            let mut change = Table::alter().table(Alias::new("accounts")).take();
            manager.alter_table(change.add_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
