//! Creates the table for audit events, which record who made which administrative call, and from where.

use sea_orm_migration::prelude::*;

use super::columns::{flag, id, index, int, kind, maybe_int, maybe_text, table, text};

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
            int("occurred_at"),
            kind("actor_type"),
            int("actor_id"),
            text("actor_name"),
            maybe_int("token_id"),
            text("method"),
            maybe_text("resource_field"),
            maybe_int("resource_id"),
            maybe_text("peer_address"),
            kind("code"),
            flag("refused"),
        ];
        manager.create_table(table("audit_events", &[], columns)).await?;
        // The indexes support the queries on audit events: lists filter by account, and trimming deletes events by age and by count. Events
        // of refused calls are trimmed separately from those of other calls.
        manager.create_index(index("audit_events", &["account_id", "id"])).await?;
        manager
            .create_index(index("audit_events", &["account_id", "refused", "id"]))
            .await?;
        manager.create_index(index("audit_events", &["occurred_at"])).await
    }
}
