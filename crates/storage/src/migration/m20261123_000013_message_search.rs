//! Creates the message index: trigrams of message content, through which a search finds any part of the content. The index follows the
//! event log and is never written in the same transaction as a message. SQLite has trigram indexes. For PostgreSQL, Parley computes the
//! trigrams, because the extension for trigrams is not available everywhere.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
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

/// The position that the message index of an account has reached: messages up to `message_id` are indexed, and log events up to `seq` have
/// been examined for changes to indexed messages.
const POSITIONS: &str = "CREATE TABLE search_positions (account_id bigint NOT NULL PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE, \
     seq bigint NOT NULL, message_id bigint NOT NULL)";

/// When a message is deleted, the foreign key deletes its row in the index.
const POSTGRES: &str = "
CREATE TABLE message_search (
    account_id bigint NOT NULL, message_id bigint NOT NULL, pieces bigint[] NOT NULL, PRIMARY KEY (account_id, message_id),
    FOREIGN KEY (account_id, message_id) REFERENCES messages (account_id, id) ON DELETE CASCADE
);
CREATE INDEX message_search_pieces ON message_search USING gin (pieces);
";

/// A row number in `message_search` contains the account id in its high bits and the message id in its low 40 bits.
const SQLITE: &str = "
CREATE VIRTUAL TABLE message_search USING fts5 (content, content = '', contentless_delete = 1, tokenize = 'trigram');
CREATE TRIGGER message_search_delete AFTER DELETE ON messages BEGIN
    DELETE FROM message_search WHERE rowid = (old.account_id << 40) | old.id;
END;
";
