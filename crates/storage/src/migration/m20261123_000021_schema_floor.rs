//! The oldest program that works on these tables.

use sea_orm_migration::prelude::*;

use super::columns::{int, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One row.
        let columns = vec![int("id"), text("migration")];
        manager.create_table(table("schema_floor", &["id"], columns)).await
    }
}
