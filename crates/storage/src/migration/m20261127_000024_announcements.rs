//! Creates the outbox of changes to users and to shared agent bots. It lists the accounts in which each change is still to be published.

use sea_orm_migration::prelude::*;

use super::columns::{index, int, kind, table};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![int("account_id"), kind("subject_kind"), int("subject_id"), int("changed_at")];
        manager
            .create_table(table("announcements", &["account_id", "subject_kind", "subject_id"], columns))
            .await?;
        manager
            .create_index(index("announcements", &["subject_kind", "subject_id"]))
            .await?;
        manager.create_index(index("announcements", &["changed_at"])).await
    }
}
