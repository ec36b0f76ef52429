//! Creates the table that names the oldest version that can run on the schema.

use sea_orm_migration::prelude::*;

use super::columns::{int, table, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The `schema_floor` table has exactly one row.
        let columns = vec![int("id"), text("migration")];
        manager.create_table(table("schema_floor", &["id"], columns)).await
    }
}
