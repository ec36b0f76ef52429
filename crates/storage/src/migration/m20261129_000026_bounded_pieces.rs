//! The index of one or two characters of contacts, bounded: the first 255 characters of each text feed it, and each costs the same. The one
//! before (migration 23) was quadratic in texts without a limit, and its triggers order what they aggregate, which SQLite before 3.44 cannot
//! even parse: its tools could not open the file.
//!
//! Searches are as before: they ask for the same pieces. Of a longer text only the beginning is found by one or two characters; three or more
//! are found by trigrams, anywhere.

use sea_orm::DbBackend;
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

/// Entries of the index that the function before made stay: of texts up to 255 characters they are the same, and of longer ones there are
/// some more, whose rows a search holds against the text again. So no index is built anew, and programs of both versions find the same.
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

/// What feeds the index.
const TEXTS: [&str; 5] = [
    "name",
    "email",
    "phone_number",
    "identifier",
    "additional_attributes ->> 'company_name'",
];

/// Each character of the texts with the next one, marks around and between them: a character and its marks are three, which trigrams find, and
/// so are two with the mark between. Groups need no order, so none is asked for.
fn marked(row: &str) -> String {
    let texts = TEXTS
        .map(|text| format!("SELECT substr({row}{text}, 1, 255) AS given"))
        .join(" UNION ALL ");
    // SQLite counts by the elements of an array: there are as many as characters.
    format!(
        "(SELECT coalesce(group_concat(char(1) || substr(given, key + 1, 1) || char(1) || substr(given, key + 2, 1) || char(1), char(2)), '') \
         FROM ({texts}) AS texts, json_each('[0' || replace(hex(zeroblob(length(given) - 1)), '00', ',0') || ']') \
         WHERE key < length(given))"
    )
}

fn sqlite() -> Vec<String> {
    let named = |row: &str| format!("({row}email IS NOT NULL OR {row}phone_number IS NOT NULL OR {row}identifier IS NOT NULL)");
    let insert = |row: &str| format!("INSERT INTO contact_pieces (rowid, pieces) SELECT {row}id, {} ", marked(row));
    // Without contentless_delete, which SQLite has from 3.43 on, a row is deleted by telling what was inserted.
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
