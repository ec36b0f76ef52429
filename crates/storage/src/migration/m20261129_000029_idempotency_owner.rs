//! Adds columns for the owner of an idempotency key and for the contact in the stored response. Both are NULL in rows that older versions
//! wrote.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // CREATE INDEX CONCURRENTLY cannot run in a transaction. All statements are repeatable, so that a migration that failed halfway can be
    // run again.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ColumnDef::new(Alias::new("owner")).uuid().null().take(),
            ColumnDef::new(Alias::new("contact_id")).big_integer().null().take(),
        ];
        for mut column in columns {
            let name = column.get_column_name();
            if !manager.has_column("idempotency_keys", &name).await? {
                let added = Table::alter().table(Alias::new("idempotency_keys")).add_column(&mut column).take();
                manager.alter_table(added).await?;
            }
        }
        let connection = manager.get_connection();
        let index = if manager.get_database_backend() == DbBackend::Sqlite {
            SQLITE
        } else {
            POSTGRES
        };
        for sql in index {
            connection.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}

const SQLITE: &[&str] = &[
    "CREATE INDEX IF NOT EXISTS idempotency_keys_account_id_contact_id ON idempotency_keys (account_id, contact_id)
    WHERE contact_id IS NOT NULL",
];

const POSTGRES: &[&str] = &[
    "DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_account_id_contact_id",
    "CREATE INDEX CONCURRENTLY idempotency_keys_account_id_contact_id ON idempotency_keys (account_id, contact_id)
        WHERE contact_id IS NOT NULL",
];
