//! Creates the index of short n-grams, which finds contacts by one or two characters, whereas trigrams require three. Like the trigram
//! index, it contains only resolved contacts.

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
        if manager.get_database_backend() == DbBackend::Sqlite {
            for sql in sqlite() {
                connection.execute_unprepared(&sql).await?;
            }
        } else {
            for sql in POSTGRES {
                connection.execute_unprepared(sql).await?;
            }
        }
        Ok(())
    }
}

/// Each n-gram contains the account id, so that n-grams that are common in other accounts cost nothing. Statistics are disabled, because
/// the planner does not need them: each search determines the number of matches itself.
const POSTGRES: [&str; 4] = [
    "CREATE OR REPLACE FUNCTION parley_pieces(account bigint, texts text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT coalesce(array_agg(DISTINCT account || ':' || substr(folded, at, size)), '{}')
        FROM (SELECT lower(given) AS folded FROM unnest(texts) AS given) AS each, generate_series(1, 2) AS size,
            LATERAL generate_series(1, length(folded) + 1 - size) AS at
    $$",
    "DROP INDEX CONCURRENTLY IF EXISTS contacts_pieces",
    "CREATE INDEX CONCURRENTLY contacts_pieces ON contacts USING gin (
        parley_pieces(account_id, ARRAY[name, email, phone_number, identifier, additional_attributes ->> 'company_name'])
    ) WHERE email IS NOT NULL OR phone_number IS NOT NULL OR identifier IS NOT NULL",
    "ALTER INDEX contacts_pieces ALTER COLUMN 1 SET STATISTICS 0",
];

/// Returns SQL for the searchable text of a contact, with a mark before and after every character. Both a single character with its two
/// marks and two characters with the mark between them form a trigram, which the trigram index finds.
fn marked(row: &str) -> String {
    let all = format!(
        "coalesce({row}name, '') || char(10) || coalesce({row}email, '') || char(10) || coalesce({row}phone_number, '') || char(10) \
         || coalesce({row}identifier, '') || char(10) || coalesce({row}additional_attributes ->> 'company_name', '')"
    );
    // `generate_series` is not available in SQLite here. Use the keys of a JSON array with as many elements as there are characters
    // instead.
    format!(
        "(SELECT char(1) || group_concat(substr(whole, key + 1, 1), char(1) ORDER BY key) || char(1) FROM (SELECT {all} AS whole), \
         json_each('[0' || replace(hex(zeroblob(length(whole) - 1)), '00', ',0') || ']'))"
    )
}

fn sqlite() -> Vec<String> {
    let named = |row: &str| format!("({row}email IS NOT NULL OR {row}phone_number IS NOT NULL OR {row}identifier IS NOT NULL)");
    let insert = format!(
        "INSERT INTO contact_pieces (rowid, pieces) SELECT new.id, {} WHERE {}",
        marked("new."),
        named("new.")
    );
    let delete = "DELETE FROM contact_pieces WHERE rowid = old.id";
    let columns = ["name", "email", "phone_number", "identifier", "additional_attributes"];
    let changed: Vec<String> = columns.iter().map(|name| format!("old.{name} IS NOT new.{name}")).collect();
    vec![
        "DROP TABLE IF EXISTS contact_pieces".to_owned(),
        "CREATE VIRTUAL TABLE contact_pieces USING fts5 (pieces, tokenize = 'trigram', detail = 'none', content = '', contentless_delete = 1)"
            .to_owned(),
        format!("CREATE TRIGGER IF NOT EXISTS contact_pieces_insert AFTER INSERT ON contacts BEGIN {insert}; END"),
        format!(
            "CREATE TRIGGER IF NOT EXISTS contact_pieces_update AFTER UPDATE OF {} ON contacts WHEN {} BEGIN {delete}; {insert}; END",
            columns.join(", "),
            changed.join(" OR ")
        ),
        format!("CREATE TRIGGER IF NOT EXISTS contact_pieces_delete AFTER DELETE ON contacts BEGIN {delete}; END"),
        format!(
            "INSERT OR REPLACE INTO contact_pieces (rowid, pieces) SELECT id, {} FROM contacts WHERE {}",
            marked(""),
            named("")
        ),
    ]
}
