//! What cursors that name their event need: the mark of the last event that was trimmed, and since when programs run that know marks.

use sea_orm::{DbBackend, Statement};
use sea_orm_migration::prelude::*;

use super::columns::{int, table};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    // A table of its own, and no column of `account_logs`: programs of the last release read all columns of that table by a prepared
    // statement, which PostgreSQL refuses once there is another column.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let trimmed = vec![int("account_id"), int("seq"), int("mark")];
        manager.create_table(table("trimmed_events", &["account_id"], trimmed)).await?;
        manager
            .create_table(table("cursor_marks", &["id"], vec![int("id"), int("migrated_at")]))
            .await?;
        // No row in a new database: a program that does not know marks has never run there.
        let now = match manager.get_database_backend() {
            DbBackend::Sqlite => "CAST(unixepoch() AS bigint)",
            _ => "CAST(extract(epoch FROM now()) AS bigint)",
        };
        let sql = format!("INSERT INTO cursor_marks (id, migrated_at) SELECT 1, {now} * 1000000 WHERE EXISTS (SELECT 1 FROM accounts)");
        let connection = manager.get_connection();
        let statement = Statement::from_string(manager.get_database_backend(), sql);
        connection.execute_raw(statement).await.map(drop)
    }
}
