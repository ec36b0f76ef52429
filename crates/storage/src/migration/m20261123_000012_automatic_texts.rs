//! What automatic texts ask of the past, in the conversation's row: when it was last replied to, and when an automatic text last went out.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Outgoing is 1, template 3, as the rows have them.
const COLUMNS: [(&str, &str); 2] = [
    ("last_reply_at", "m.message_type = 1 AND NOT m.private"),
    ("last_template_at", "m.message_type = 3"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
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
