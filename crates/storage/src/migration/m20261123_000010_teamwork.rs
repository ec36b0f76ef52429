//! Creates the tables for conversation participants, presence, and round-robin assignment.

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
        let participants = vec![int("account_id"), int("conversation_id"), int("user_id"), int("created_at")];
        let key = ["account_id", "conversation_id", "user_id"];
        manager.create_table(table("conversation_participants", &key, participants)).await?;
        manager
            .create_index(index("conversation_participants", &["account_id", "user_id"]))
            .await?;
        let presences = vec![int("account_id"), kind("kind"), int("id"), int("seen_at")];
        manager
            .create_table(table("presences", &["account_id", "kind", "id"], presences))
            .await?;
        let turns = vec![int("account_id"), int("inbox_id"), int("user_id"), int("turn")];
        manager
            .create_table(table("assignment_turns", &["account_id", "inbox_id", "user_id"], turns))
            .await?;
        let connection = manager.get_connection();
        // These indexes are partial, because few conversations are snoozed and few messages contain mentions. Writes to other rows should
        // not update the indexes.
        for sql in [
            "CREATE INDEX conversations_snoozed_until ON conversations (snoozed_until) WHERE snoozed_until IS NOT NULL",
            "CREATE INDEX messages_mentions ON messages (account_id, conversation_id) WHERE private AND content LIKE '%mention://user/%'",
        ] {
            connection.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
