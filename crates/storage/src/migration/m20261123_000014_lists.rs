//! Creates indexes for lists: one for each sort order of contacts, trigrams for contact searches, and indexes for the common conversation
//! filters.
//!
//! Contact lists contain only resolved contacts, so anonymous visitors occupy no space in the indexes. Contacts are sorted by the day of
//! their last activity, because each message of a contact changes the exact time, and an index on it would make PostgreSQL write into every
//! index of the table.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The condition for a resolved contact. Queries must use the same expression, because the databases would otherwise not use the indexes.
const NAMED: &str = "email IS NOT NULL OR phone_number IS NOT NULL OR identifier IS NOT NULL";

/// The sort orders of contact lists that no unique index supports. Attributes are truncated, because long values do not fit into an index.
const ORDERS: [(&str, &str); 7] = [
    ("named", "id"),
    ("by_name", "lower(name), id"),
    ("by_created_at", "created_at, id"),
    ("by_company", "substr(additional_attributes ->> 'company_name', 1, 255), id"),
    ("by_city", "substr(additional_attributes ->> 'city', 1, 255), id"),
    ("by_country", "substr(additional_attributes ->> 'country', 1, 255), id"),
    ("by_activity_day", "activity_day"),
];

/// Indexes for selective conversation filters. None of the indexed columns changes with a message more often than once an hour.
const CONVERSATIONS: [(&str, &str); 4] = [
    ("by_created_at", "created_at, id"),
    ("by_status", "status, activity_hour"),
    ("by_inbox", "inbox_id, activity_hour"),
    ("by_assignee", "assignee_id, activity_hour"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Use a transaction on SQLite too, so that a failed migration leaves no partial changes.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let sqlite = manager.get_database_backend() == sea_orm::DbBackend::Sqlite;
        // PostgreSQL needs a stored column, because it compares stored values to decide whether an update is HOT. SQLite needs a virtual
        // column, because it cannot add stored ones.
        let kind = if sqlite { "VIRTUAL" } else { "STORED" };
        let day = "ALTER TABLE contacts ADD COLUMN activity_day bigint GENERATED ALWAYS AS (last_activity_at / 86400000000)";
        connection.execute_unprepared(&format!("{day} {kind}")).await?;
        for (name, columns) in ORDERS {
            let index = format!("CREATE INDEX contacts_{name} ON contacts (account_id, {columns}) WHERE {NAMED}");
            connection.execute_unprepared(&index).await?;
        }
        // This index is not limited to resolved contacts, because PostgreSQL collects no statistics about an expression in a partial index,
        // and would then not use the index.
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

/// The `pg_trgm` extension is trusted, so the owner of the database can create it. If it cannot be created, searches scan all contacts of
/// the account. The fill factor leaves space for the row versions that messages create.
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

/// Triggers maintain the indexed text, so that the index reflects every change to a contact.
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
