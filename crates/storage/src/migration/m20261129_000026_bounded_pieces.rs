//! Limits the index of short n-grams of contacts: only the first 255 characters of each value are indexed, and the cost is linear in the
//! length of the value. The previous index (migration 23) had no limit, and its cost was quadratic. On SQLite, the previous triggers
//! contained an ordered aggregate, which SQLite before 3.44 cannot parse, so tools with older versions of SQLite could not open the file.
//!
//! Searches are unchanged, because they look up the same n-grams. In a value of more than 255 characters, a search for one or two
//! characters finds only matches within the first 255; a search for three or more characters finds matches anywhere, through trigrams.

use sea_orm::DbBackend;
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
        if manager.get_database_backend() == DbBackend::Sqlite {
            for sql in sqlite() {
                connection.execute_unprepared(&sql).await?;
            }
        } else {
            connection.execute_unprepared(POSTGRES).await?;
        }
        Ok(())
    }
}

/// Entries that the previous function computed remain in the index. For values of up to 255 characters, both functions compute the same
/// entries. For longer values, the previous function computed additional entries, but a search also compares the values of every contact
/// that it finds through the index with the search text. Therefore, the index is not rebuilt, and both versions find the same contacts.
const POSTGRES: &str = "
CREATE OR REPLACE FUNCTION parley_pieces(account bigint, texts text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT account || ':' || piece), '{}')
    FROM unnest(texts) AS given,
        LATERAL (
            SELECT letter, letter || lead(letter) OVER (ORDER BY at) AS pair
            FROM unnest(string_to_array(lower(left(given, 255)), NULL)) WITH ORDINALITY AS letters (letter, at)
        ) AS cut,
        LATERAL (VALUES (letter), (pair)) AS pieces (piece)
    WHERE piece IS NOT NULL
$$";

/// SQL expressions for the values of a contact that are indexed.
const TEXTS: [&str; 5] = [
    "name",
    "email",
    "phone_number",
    "identifier",
    "additional_attributes ->> 'company_name'",
];

/// Returns SQL for groups of two characters: each character of the values together with the next one, with marks around and between them.
/// Both a single character with its two marks and two characters with the mark between them form a trigram, which the trigram index finds.
/// The order of the groups does not matter.
fn marked(row: &str) -> String {
    let texts = TEXTS
        .map(|text| format!("SELECT substr({row}{text}, 1, 255) AS given"))
        .join(" UNION ALL ");
    // `generate_series` is not available in SQLite here. Use the keys of a JSON array with as many elements as there are characters
    // instead.
    format!(
        "(SELECT coalesce(group_concat(char(1) || substr(given, key + 1, 1) || char(1) || substr(given, key + 2, 1) || char(1), char(2)), '') \
         FROM ({texts}) AS texts, json_each('[0' || replace(hex(zeroblob(length(given) - 1)), '00', ',0') || ']') \
         WHERE key < length(given))"
    )
}

fn sqlite() -> Vec<String> {
    let named = |row: &str| format!("({row}email IS NOT NULL OR {row}phone_number IS NOT NULL OR {row}identifier IS NOT NULL)");
    let insert = |row: &str| format!("INSERT INTO contact_pieces (rowid, pieces) SELECT {row}id, {} ", marked(row));
    // Deleting an index row requires the content that was indexed, because the table does not use `contentless_delete`, which requires
    // SQLite 3.43.
    let delete = format!(
        "INSERT INTO contact_pieces (contact_pieces, rowid, pieces) SELECT 'delete', old.id, {} WHERE {}",
        marked("old."),
        named("old.")
    );
    let added = format!("{} WHERE {}", insert("new."), named("new."));
    let columns = ["name", "email", "phone_number", "identifier", "additional_attributes"];
    let changed: Vec<String> = columns.iter().map(|name| format!("old.{name} IS NOT new.{name}")).collect();
    vec![
        "DROP TRIGGER IF EXISTS contact_pieces_insert".to_owned(),
        "DROP TRIGGER IF EXISTS contact_pieces_update".to_owned(),
        "DROP TRIGGER IF EXISTS contact_pieces_delete".to_owned(),
        "DROP TABLE IF EXISTS contact_pieces".to_owned(),
        "CREATE VIRTUAL TABLE contact_pieces USING fts5 (pieces, tokenize = 'trigram', detail = 'none', content = '')".to_owned(),
        format!("CREATE TRIGGER contact_pieces_insert AFTER INSERT ON contacts BEGIN {added}; END"),
        format!(
            "CREATE TRIGGER contact_pieces_update AFTER UPDATE OF {} ON contacts WHEN {} BEGIN {delete}; {added}; END",
            columns.join(", "),
            changed.join(" OR ")
        ),
        format!("CREATE TRIGGER contact_pieces_delete AFTER DELETE ON contacts BEGIN {delete}; END"),
        format!("{} FROM contacts WHERE {}", insert("contacts."), named("contacts.")),
    ]
}
