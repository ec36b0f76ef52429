//! Creates the tables for durable consumers and their positions, and for contacts whose data is erased from the event log.

use sea_orm_migration::prelude::*;

use super::columns::{bytes, flag, index, int, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let consumers = vec![
            int("account_id"),
            text("name"),
            bytes("filter"),
            int("shard_count"),
            int("start_epoch"),
            int("start_seq"),
            int("fence"),
            int("created_at"),
        ];
        manager.create_table(table("consumers", &["account_id", "name"], consumers)).await?;
        let shards = vec![
            int("account_id"),
            text("name"),
            int("shard"),
            int("epoch"),
            int("seq"),
            int("fence"),
            int("leased_until"),
            int("committed_at"),
        ];
        manager
            .create_table(table("consumer_shards", &["account_id", "name", "shard"], shards))
            .await?;
        // Records which contacts were merged into a contact, so that the events of the merged contacts are erased together with its own.
        let merges = vec![int("account_id"), int("contact_id"), int("into_id")];
        manager
            .create_table(table("contact_merges", &["account_id", "contact_id"], merges))
            .await?;
        manager.create_index(index("contact_merges", &["account_id", "into_id"])).await?;
        // The events of an erased contact up to `seq` are tombstones. The event rows up to `rewritten_seq` have been rewritten.
        let erasures = vec![
            int("account_id"),
            int("contact_id"),
            int("seq"),
            int("erased_at"),
            int("rewritten_seq"),
            flag("rewritten"),
        ];
        manager
            .create_table(table("erasures", &["account_id", "contact_id"], erasures))
            .await?;
        manager.create_index(index("erasures", &["rewritten"])).await
    }
}
