//! Creates the tables that cursors with marks require. A mark is a random number that is stored in the events of a write and distinguishes
//! two histories with equal sequence numbers. The tables store the mark of the last trimmed event in each log, and the time of the upgrade
//! to a version with marks.

use sea_orm::{DbBackend, Statement};
use sea_orm_migration::prelude::*;

use super::columns::{int, table};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    // The marks are stored in a separate table instead of a column of `account_logs`, because the previous version reads all columns of
    // `account_logs` with a prepared statement, which PostgreSQL rejects after a column was added.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let trimmed = vec![int("account_id"), int("seq"), int("mark")];
        manager.create_table(table("trimmed_events", &["account_id"], trimmed)).await?;
        manager
            .create_table(table("cursor_marks", &["id"], vec![int("id"), int("migrated_at")]))
            .await?;
        // Do not insert a row into `cursor_marks` in a new database, because no version without marks has ever used the database.
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
