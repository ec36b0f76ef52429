//! What lists stand on: an index for each order of contacts, trigrams for searches by a piece of text, and conversations by what they are
//! often narrowed to.
//!
//! Lists show contacts who can be named, so visitors take no room in the indexes. Sorting by the last activity goes through its day, for
//! the same reason as conversations' hour: each message of a contact moves the time, and would write into every index.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Who can be named. Queries spell it the same way, or the indexes would not serve them.
const NAMED: &str = "email IS NOT NULL OR phone_number IS NOT NULL OR identifier IS NOT NULL";

/// The orders beyond those that unique indexes hold already. Long attributes do not fit into an index.
const ORDERS: [(&str, &str); 7] = [
    ("named", "id"),
    ("by_name", "lower(name), id"),
    ("by_created_at", "created_at, id"),
    ("by_company", "substr(additional_attributes ->> 'company_name', 1, 255), id"),
    ("by_city", "substr(additional_attributes ->> 'city', 1, 255), id"),
    ("by_country", "substr(additional_attributes ->> 'country', 1, 255), id"),
    ("by_activity_day", "activity_day"),
];

/// Lists of conversations that are few among many: none of these columns moves with a message more often than once an hour.
const CONVERSATIONS: [(&str, &str); 4] = [
    ("by_created_at", "created_at, id"),
    ("by_status", "status, activity_hour"),
    ("by_inbox", "inbox_id, activity_hour"),
    ("by_assignee", "assignee_id, activity_hour"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // SQLite too: a migration that stops halfway leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let sqlite = manager.get_database_backend() == sea_orm::DbBackend::Sqlite;
        // HOT updates compare what is stored; SQLite can only add columns that are not.
        let kind = if sqlite { "VIRTUAL" } else { "STORED" };
        let day = "ALTER TABLE contacts ADD COLUMN activity_day bigint GENERATED ALWAYS AS (last_activity_at / 86400000000)";
        connection.execute_unprepared(&format!("{day} {kind}")).await?;
        for (name, columns) in ORDERS {
            let index = format!("CREATE INDEX contacts_{name} ON contacts (account_id, {columns}) WHERE {NAMED}");
            connection.execute_unprepared(&index).await?;
        }
        // Not of those alone who can be named: PostgreSQL takes no statistics about an expression from a partial index, and would not use it.
        connection
            .execute_unprepared("CREATE INDEX contacts_by_identifier ON contacts (account_id, lower(identifier))")
            .await?;
        for (name, columns) in CONVERSATIONS {
            let index = format!("CREATE INDEX conversations_{name} ON conversations (account_id, {columns})");
            connection.execute_unprepared(&index).await?;
        }
        if sqlite {
            connection.execute_unprepared(SQLITE).await?;
        } else {
            connection.execute_unprepared(POSTGRES).await?;
        }
        Ok(())
    }
}

/// The extension is trusted, so the owner of a database may make it. Where it cannot be made, searches walk over the account's contacts.
/// The room on the pages is for the next versions of rows that messages make.
const POSTGRES: &str = "
ALTER TABLE contacts SET (fillfactor = 80);
DO $$ BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX contacts_search ON contacts USING gin (
        name gin_trgm_ops, email gin_trgm_ops, phone_number gin_trgm_ops, identifier gin_trgm_ops,
        (additional_attributes ->> 'company_name') gin_trgm_ops, (additional_attributes ->> 'company') gin_trgm_ops,
        (additional_attributes ->> 'city') gin_trgm_ops
    ) WHERE email IS NOT NULL OR phone_number IS NOT NULL OR identifier IS NOT NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'contacts are searched without an index: %', SQLERRM;
END $$;
";

/// Triggers keep the texts: every way of changing a contact passes them.
const SQLITE: &str = "
CREATE VIRTUAL TABLE contact_search USING fts5 (name, email, phone_number, identifier, company_name, tokenize = 'trigram');
INSERT INTO contact_search (rowid, name, email, phone_number, identifier, company_name)
    SELECT id, name, email, phone_number, identifier, additional_attributes ->> 'company_name' FROM contacts;
CREATE TRIGGER contact_search_insert AFTER INSERT ON contacts BEGIN
    INSERT INTO contact_search (rowid, name, email, phone_number, identifier, company_name)
        VALUES (new.id, new.name, new.email, new.phone_number, new.identifier, new.additional_attributes ->> 'company_name');
END;
CREATE TRIGGER contact_search_update AFTER UPDATE OF name, email, phone_number, identifier, additional_attributes ON contacts
WHEN old.name IS NOT new.name OR old.email IS NOT new.email OR old.phone_number IS NOT new.phone_number
    OR old.identifier IS NOT new.identifier OR old.additional_attributes IS NOT new.additional_attributes BEGIN
    UPDATE contact_search SET name = new.name, email = new.email, phone_number = new.phone_number, identifier = new.identifier,
        company_name = new.additional_attributes ->> 'company_name' WHERE rowid = new.id;
END;
CREATE TRIGGER contact_search_delete AFTER DELETE ON contacts BEGIN
    DELETE FROM contact_search WHERE rowid = old.id;
END;
";
