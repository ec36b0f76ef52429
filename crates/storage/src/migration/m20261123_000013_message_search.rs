//! An index over the texts of messages, in pieces of three characters, so that any part of a text is found. It follows the log and is
//! never written together with a message. SQLite has such an index; for PostgreSQL the pieces are made here, because an extension for
//! them is not everywhere to be had.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared(POSITIONS).await?;
        let index = match manager.get_database_backend() {
            sea_orm::DbBackend::Sqlite => SQLITE,
            _ => POSTGRES,
        };
        connection.execute_unprepared(index).await?;
        Ok(())
    }
}

/// How far the index of an account is: the log up to `seq`, the messages up to `message_id`.
const POSITIONS: &str = "CREATE TABLE search_positions (account_id bigint NOT NULL PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE, \
     seq bigint NOT NULL, message_id bigint NOT NULL)";

/// A message that goes takes its pieces along.
const POSTGRES: &str = "
CREATE TABLE message_search (
    account_id bigint NOT NULL, message_id bigint NOT NULL, pieces bigint[] NOT NULL, PRIMARY KEY (account_id, message_id),
    FOREIGN KEY (account_id, message_id) REFERENCES messages (account_id, id) ON DELETE CASCADE
);
CREATE INDEX message_search_pieces ON message_search USING gin (pieces);
";

/// One number names the row: the account's above, the message's in the lower 40 bits.
const SQLITE: &str = "
CREATE VIRTUAL TABLE message_search USING fts5 (content, content = '', contentless_delete = 1, tokenize = 'trigram');
CREATE TRIGGER message_search_delete AFTER DELETE ON messages BEGIN
    DELETE FROM message_search WHERE rowid = (old.account_id << 40) | old.id;
END;
";
