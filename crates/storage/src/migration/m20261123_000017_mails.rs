//! Creates the table for queued mails and for mails sent within the last hour, which count against the rate limit.

use sea_orm_migration::prelude::*;

use super::columns::{belongs, id, index, int, maybe_int, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![
            id(),
            int("account_id"),
            text("recipient"),
            text("subject"),
            text("body"),
            int("created_at"),
            int("next_try_at"),
            int("tries"),
            maybe_int("sent_at"),
        ];
        let mut mails = table("mails", &[], columns);
        mails.foreign_key(&mut belongs("mails", "account_id", "accounts"));
        manager.create_table(mails).await?;
        manager.create_index(index("mails", &["account_id", "created_at"])).await?;
        manager.create_index(index("mails", &["next_try_at"])).await
    }
}
