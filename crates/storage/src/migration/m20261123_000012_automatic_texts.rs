//! Adds the times on which automatic messages depend to the rows of conversations: the times of the last reply and of the last automatic
//! message.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The new columns, each with the condition for the messages that determine it. A `message_type` of 1 is outgoing, and 3 is template.
const COLUMNS: [(&str, &str); 2] = [
    ("last_reply_at", "m.message_type = 1 AND NOT m.private"),
    ("last_template_at", "m.message_type = 3"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for (column, of) in COLUMNS {
            let add = format!("ALTER TABLE conversations ADD COLUMN {column} bigint");
            connection.execute_unprepared(&add).await?;
            let fill = format!(
                "UPDATE conversations SET {column} = (SELECT max(m.created_at) FROM messages m WHERE m.account_id = conversations.account_id \
                 AND m.conversation_id = conversations.id AND {of})"
            );
            connection.execute_unprepared(&fill).await?;
        }
        Ok(())
    }
}
