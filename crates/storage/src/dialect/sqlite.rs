//! The SQL dialect of SQLite.

use parley_types::id::AccountId;
use sea_orm::{
    Condition, DbBackend, ExprTrait as _, Statement, Value,
    sea_query::{Expr, LikeExpr, LockType, SelectStatement, SimpleExpr},
};

use super::sql::{CONTACT_COMPANY, IdReservation, MessageIndex, ReturnedIds, ServerQueries, SqlDialect, containing};
use crate::entity::contact::{self, Column};

#[derive(Clone, Copy, Debug)]
pub(super) struct Sqlite;

impl SqlDialect for Sqlite {
    fn backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn advisory_lock(&self, _key: i64) -> Option<String> {
        None
    }

    fn notification(&self) -> Option<&'static str> {
        None
    }

    // No row lock is needed, because the only connection that writes holds a lock on the whole file.
    fn row_lock(&self) -> Option<LockType> {
        None
    }

    fn server_queries(&self) -> ServerQueries {
        ServerQueries {
            product: "SQLite",
            version: "SELECT sqlite_version()",
            version_number: None,
            read_only: "SELECT CAST(query_only AS text) FROM pragma_query_only",
            writable: "0",
            may_create: None,
            max_connections: None,
            clock: None,
        }
    }

    fn log_bytes(&self) -> &'static str {
        "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()"
    }

    fn integer_parameter(&self, nth: usize) -> String {
        format!("?{nth}")
    }

    fn json_as_text(&self, column: &str) -> String {
        column.to_owned()
    }

    fn json_field(&self, json: SimpleExpr, key: &'static str) -> SimpleExpr {
        Expr::cust_with_exprs("(? ->> ?)", [json, Expr::value(key)])
    }

    fn bytewise(&self, text: SimpleExpr) -> SimpleExpr {
        text
    }

    // In SQLite, LIKE ignores the case of ASCII letters and has no escape character by default.
    fn contains(&self, text: SimpleExpr, piece: &str) -> SimpleExpr {
        text.like(LikeExpr::new(containing(piece, ESCAPE)).escape(ESCAPE))
    }

    fn does_not_contain(&self, text: SimpleExpr, piece: &str) -> SimpleExpr {
        text.not_like(LikeExpr::new(containing(piece, ESCAPE)).escape(ESCAPE))
    }

    fn attribute_present(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        attribute(
            "EXISTS (SELECT 1 FROM json_each(?) WHERE \"key\" = ? AND \"type\" <> 'null')",
            map,
            key,
        )
    }

    fn attribute_text(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        let sql = "(SELECT CASE WHEN \"type\" IN ('true', 'false') THEN \"type\" WHEN \"type\" IN ('text', 'integer', 'real') \
             THEN CAST(\"value\" AS TEXT) END FROM json_each(?) WHERE \"key\" = ?)";
        attribute(sql, map, key)
    }

    fn attribute_number(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        let sql = "(SELECT CASE WHEN \"type\" IN ('integer', 'real') THEN CAST(\"value\" AS REAL) WHEN \"type\" = 'text' \
             AND length(\"value\") <= 31 AND \"value\" NOT GLOB '*[^0-9.-]*' AND \"value\" NOT GLOB '*.*.*' \
             AND substr(\"value\", 2) NOT GLOB '*-*' AND \"value\" GLOB '*[0-9]' \
             AND (\"value\" GLOB '[0-9]*' OR \"value\" GLOB '-[0-9]*') THEN CAST(\"value\" AS REAL) END FROM json_each(?) WHERE \"key\" = ?)";
        attribute(sql, map, key)
    }

    fn attribute_date(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        let sql = "(SELECT CASE WHEN \"type\" = 'text' AND \"value\" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' \
             THEN substr(\"value\", 1, 10) END FROM json_each(?) WHERE \"key\" = ?)";
        attribute(sql, map, key)
    }

    fn id_in_list(&self, id: SimpleExpr, ids: &[i64]) -> SimpleExpr {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let ids = format!("[{}]", ids.join(","));
        Expr::cust_with_exprs("? IN (SELECT value FROM json_each(?))", [id, Expr::value(ids)])
    }

    fn id_among_few(&self, id: SimpleExpr, ids: SelectStatement) -> SimpleExpr {
        id.in_subquery(ids)
    }

    // Without statistics about values, SQLite uses the same plan for a query regardless of the bound values.
    fn plans_by_selectivity(&self) -> bool {
        false
    }

    fn reserve_ids(&self, table: &'static str) -> IdReservation {
        IdReservation {
            // Insert a row first, because `sqlite_sequence` has no row for a table before the first insert into that table.
            prepare: Some(format!(
                "INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', 0 \
                 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = '{table}')"
            )),
            reserve: format!("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = '{table}' RETURNING seq"),
            returned: ReturnedIds::Last,
        }
    }

    fn insert_json_rows(&self, table: &str, columns: &[&str], json: &[&str]) -> String {
        let value = |column: &&str| {
            let arrow = if json.contains(column) { "->" } else { "->>" };
            format!("value {arrow} '$.{column}'")
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        format!(
            "INSERT INTO {table} ({}) SELECT {} FROM json_each(?)",
            columns.join(", "),
            values.join(", ")
        )
    }

    fn delete_batch(&self, table: &str, account: AccountId, rows: u64) -> String {
        format!("DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE account_id = {account} LIMIT {rows})")
    }

    fn waiting_table(&self) -> Option<&'static str> {
        None
    }

    fn message_index(&self) -> MessageIndex {
        MessageIndex::Text
    }

    fn store_message_index(&self) -> &'static str {
        "INSERT OR REPLACE INTO message_search (rowid, content) SELECT ($1 << 40) | (value ->> 0), value ->> 1 FROM json_each($2) \
         WHERE EXISTS (SELECT 1 FROM messages WHERE account_id = $1 AND id = value ->> 0)"
    }

    fn message_in_index(&self, account: AccountId, entry: &str) -> SimpleExpr {
        // All accounts share one index, so restrict the search to the account's range of row numbers: the high bits of a row number contain
        // the account id.
        let first = account.0 << MESSAGE_BITS;
        Expr::cust_with_values(
            "\"messages\".\"id\" IN (SELECT rowid & 1099511627775 FROM message_search WHERE message_search MATCH ? \
             AND rowid BETWEEN ? AND ?)",
            [Value::from(phrase(entry)), first.into(), (first | 0xFF_FFFF_FFFF).into()],
        )
    }

    fn contacts_by_trigrams(&self, text: &str) -> Option<Condition> {
        if text.contains(['%', '_']) {
            return None;
        }
        // The full-text table finds the contact ids directly, regardless of the number of contacts, and it ignores the case of letters in
        // any language.
        let id = Expr::col((contact::Entity, Column::Id));
        let phrase = phrase(text);
        Some(Condition::all().add(Expr::cust_with_exprs(
            "? IN (SELECT rowid FROM contact_search WHERE contact_search MATCH ? \
             UNION SELECT rowid FROM contact_search WHERE contact_search MATCH ? AND identifier GLOB ?)",
            [
                id,
                Expr::value(format!("{{name email phone_number company_name}} : {phrase}")),
                Expr::value(format!("identifier : {phrase}")),
                Expr::value(glob(text)),
            ],
        )))
    }

    fn contacts_by_pattern(&self, text: &str) -> Condition {
        let pattern = format!("%{text}%");
        let column = |column: Column| Expr::col((contact::Entity, column));
        let company = Expr::cust(CONTACT_COMPANY);
        let mut any = Condition::any();
        for expr in [column(Column::Name), column(Column::Email), column(Column::PhoneNumber), company] {
            any = any.add(expr.like(pattern.as_str()));
        }
        any.add(Expr::cust_with_exprs(
            "? GLOB ?",
            [column(Column::Identifier), Expr::value(glob(text))],
        ))
    }

    fn contacts_with_piece(&self, _account: AccountId, piece: &str) -> SimpleExpr {
        let id = Expr::col((contact::Entity, Column::Id));
        Expr::cust_with_exprs(
            "? IN (SELECT rowid FROM contact_pieces WHERE contact_pieces MATCH ?)",
            [id, Expr::value(marked(piece))],
        )
    }

    fn count_contacts_with_piece(&self, account: AccountId, piece: &str, most: u64) -> Statement {
        // CROSS JOIN fixes the order of the tables. With another join, SQLite would collect all contacts with the n-gram first, regardless
        // of the limit.
        let sql = "SELECT COUNT(*) AS count FROM (SELECT 1 FROM contact_pieces CROSS JOIN contacts ON contacts.id = contact_pieces.rowid \
             WHERE contact_pieces MATCH ? AND contacts.account_id = ? LIMIT ?)";
        let values: [Value; 3] = [marked(piece).into(), account.0.into(), most.into()];
        Statement::from_sql_and_values(self.backend(), sql, values)
    }
}

/// The escape character of our LIKE patterns.
const ESCAPE: char = '!';

/// The number of low bits in a row number of `message_search` that contain the message id.
const MESSAGE_BITS: u32 = 40;

/// Separates characters in the index of short n-grams.
const MARK: &str = "\u{1}";

/// Applies an SQL template to a JSON map and a key, which replace the two question marks in the template.
fn attribute(template: &'static str, map: SimpleExpr, key: &str) -> SimpleExpr {
    Expr::cust_with_exprs(template, [map, Expr::value(key)])
}

/// Quotes a string as a phrase of a full-text query.
fn phrase(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Returns a full-text phrase for the index of short n-grams. The index has a separator (`MARK`) before and after each character, so a
/// single character with the separators around it forms a trigram, and so do two characters with the separator between them.
fn marked(piece: &str) -> String {
    let characters: Vec<String> = piece.chars().map(String::from).collect();
    let marked = match characters.as_slice() {
        [single] => format!("{MARK}{single}{MARK}"),
        _ => characters.join(MARK),
    };
    phrase(&marked)
}

/// Converts a LIKE pattern to a GLOB pattern. Identifiers need GLOB because they are case-sensitive, whereas LIKE ignores case.
fn glob(text: &str) -> String {
    let pattern: String = text
        .chars()
        .map(|char| match char {
            '%' => "*".to_owned(),
            '_' => "?".to_owned(),
            '*' | '?' | '[' => format!("[{char}]"),
            other => other.to_string(),
        })
        .collect();
    format!("*{pattern}*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ngrams_of_one_or_two_characters_become_trigrams() {
        assert_eq!(marked("a"), "\"\u{1}a\u{1}\"");
        assert_eq!(marked("王\""), "\"王\u{1}\"\"\"");
    }

    #[test]
    fn like_wildcards_become_glob_wildcards() {
        assert_eq!(glob("a%b_c"), "*a*b?c*");
        assert_eq!(glob("[x]*?"), "*[[]x][*][?]*");
    }
}
