//! Creates indexes for listing conversations by priority and by waiting time, and for counting them by status and assignee. A priority
//! rarely changes, so it is indexed directly. The time since which a contact has been waiting changes with every reply; if that column of
//! `conversations` were indexed, PostgreSQL would write into every index of the table each time (no HOT update). On PostgreSQL, triggers
//! therefore maintain the waiting times in a narrow side table. SQLite writes only into the indexes whose columns change.

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
        let connection = manager.get_connection();
        let all = if manager.get_database_backend() == DbBackend::Sqlite {
            SQLITE
        } else {
            POSTGRES
        };
        for sql in all {
            connection.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}

/// Queries by priority must use the same expression as these indexes.
const SQLITE: &[&str] = &[
    "CREATE INDEX IF NOT EXISTS conversations_by_priority ON conversations (account_id, CAST(priority AS bigint), id)
        WHERE CAST(priority AS bigint) IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS conversations_by_waiting_since ON conversations (account_id, waiting_since, id)
        WHERE waiting_since IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS conversations_counted ON conversations (account_id, status, assignee_id, inbox_id)",
];

/// The side table is filled after the triggers exist, so that they record concurrent changes. Conversations whose contact is waiting are
/// locked until their rows in the side table are inserted. Otherwise, if a wait ended before the row of the conversation was inserted, that
/// row would remain in the side table.
const POSTGRES: &[&str] = &[
    "DROP INDEX CONCURRENTLY IF EXISTS conversations_by_priority",
    "CREATE INDEX CONCURRENTLY conversations_by_priority ON conversations (account_id, CAST(priority AS bigint), id)
        WHERE CAST(priority AS bigint) IS NOT NULL",
    "DROP INDEX CONCURRENTLY IF EXISTS conversations_counted",
    "CREATE INDEX CONCURRENTLY conversations_counted ON conversations (account_id, status, assignee_id, inbox_id)",
    "CREATE TABLE IF NOT EXISTS conversation_waits (
        account_id bigint NOT NULL, conversation_id bigint NOT NULL, since bigint NOT NULL, PRIMARY KEY (account_id, conversation_id)
    )",
    "CREATE INDEX IF NOT EXISTS conversation_waits_account_id_since_conversation_id
        ON conversation_waits (account_id, since, conversation_id)",
    TRIGGERS,
    "INSERT INTO conversation_waits (account_id, conversation_id, since)
        SELECT account_id, id, waiting_since FROM conversations WHERE waiting_since IS NOT NULL
        FOR NO KEY UPDATE
        ON CONFLICT (account_id, conversation_id) DO NOTHING",
];

const TRIGGERS: &str = "
CREATE OR REPLACE FUNCTION parley_keep_wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'DELETE' OR new.waiting_since IS NULL THEN
        DELETE FROM conversation_waits WHERE account_id = old.account_id AND conversation_id = old.id;
    ELSE
        INSERT INTO conversation_waits (account_id, conversation_id, since) VALUES (new.account_id, new.id, new.waiting_since)
            ON CONFLICT (account_id, conversation_id) DO UPDATE SET since = excluded.since;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER conversation_waits_insert AFTER INSERT ON conversations FOR EACH ROW
    WHEN (new.waiting_since IS NOT NULL) EXECUTE FUNCTION parley_keep_wait();
CREATE OR REPLACE TRIGGER conversation_waits_update AFTER UPDATE OF waiting_since ON conversations FOR EACH ROW
    WHEN (old.waiting_since IS DISTINCT FROM new.waiting_since) EXECUTE FUNCTION parley_keep_wait();
CREATE OR REPLACE TRIGGER conversation_waits_delete AFTER DELETE ON conversations FOR EACH ROW
    WHEN (old.waiting_since IS NOT NULL) EXECUTE FUNCTION parley_keep_wait();
";
