//! Bounds the index of short n-grams of contacts: only the first 255 characters of each value are indexed, and the cost is linear. The
//! previous index (migration 23) had no limit, and its cost was quadratic in the length of values. On SQLite, its triggers contained an
//! ordered aggregate, which SQLite before 3.44 cannot parse, so tools of those versions could not open the file.
//!
//! Searches are unchanged, because they look up the same n-grams. One or two characters are found only at the beginning of a longer value;
//! three or more are found anywhere, through trigrams.

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

/// Index entries of the previous function remain. For values of up to 255 characters they are identical; for longer values there are
/// additional entries, and a search compares their rows with the value again. So the index is not rebuilt, and both versions find the same
/// contacts.
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

/// The indexed values, as SQL expressions.
const TEXTS: [&str; 5] = [
    "name",
    "email",
    "phone_number",
    "identifier",
    "additional_attributes ->> 'company_name'",
];

/// Returns SQL for each character of the values together with the next one, with marks around and between them. One character with its
/// marks, and two characters with the mark between them, are three characters, which the trigram index finds. The order of the groups does
/// not matter.
fn marked(row: &str) -> String {
    let texts = TEXTS
        .map(|text| format!("SELECT substr({row}{text}, 1, 255) AS given"))
        .join(" UNION ALL ");
    // SQLite has no series of numbers here; the keys of an array with as many elements as characters serve as one.
    format!(
        "(SELECT coalesce(group_concat(char(1) || substr(given, key + 1, 1) || char(1) || substr(given, key + 2, 1) || char(1), char(2)), '') \
         FROM ({texts}) AS texts, json_each('[0' || replace(hex(zeroblob(length(given) - 1)), '00', ',0') || ']') \
         WHERE key < length(given))"
    )
}

fn sqlite() -> Vec<String> {
    let named = |row: &str| format!("({row}email IS NOT NULL OR {row}phone_number IS NOT NULL OR {row}identifier IS NOT NULL)");
    let insert = |row: &str| format!("INSERT INTO contact_pieces (rowid, pieces) SELECT {row}id, {} ", marked(row));
    // Without `contentless_delete`, which requires SQLite 3.43, deleting an index row requires the indexed content.
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
