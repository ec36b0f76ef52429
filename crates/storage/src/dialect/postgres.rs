//! The SQL dialect of PostgreSQL.

use parley_types::id::AccountId;
use sea_orm::{
    ColumnTrait as _, Condition, DbBackend, EntityTrait as _, QueryFilter as _, QuerySelect as _, QueryTrait, Statement, Value,
    sea_query::{Alias, Expr, LikeExpr, LockType, Query, SelectStatement, SimpleExpr, extension::postgres::PgExpr as _},
};

use super::sql::{CONTACT_COMPANY, IdReservation, MessageIndex, ReturnedIds, ServerQueries, SqlDialect, containing};
use crate::entity::contact::{self, Column};

#[derive(Clone, Copy, Debug)]
pub(super) struct Postgres;

impl SqlDialect for Postgres {
    fn backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn advisory_lock(&self, key: i64) -> Option<String> {
        Some(format!("SELECT pg_advisory_xact_lock({key})"))
    }

    fn notification(&self) -> Option<&'static str> {
        Some("SELECT pg_notify($1, $2)")
    }

    fn row_lock(&self) -> Option<LockType> {
        Some(LockType::Update)
    }

    fn server_queries(&self) -> ServerQueries {
        ServerQueries {
            product: "PostgreSQL",
            version: "SELECT current_setting('server_version')",
            version_number: Some("SELECT CAST(current_setting('server_version_num') AS bigint)"),
            read_only: "SELECT CAST(pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS text)",
            writable: "false",
            may_create: Some("SELECT CAST(has_schema_privilege(current_user, current_schema(), 'CREATE') AS text)"),
            max_connections: Some("SELECT CAST(current_setting('max_connections') AS bigint)"),
            clock: Some("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"),
        }
    }

    fn log_bytes(&self) -> &'static str {
        "SELECT pg_total_relation_size('events') AS bytes"
    }

    fn integer_parameter(&self, nth: usize) -> String {
        format!("${nth}::bigint")
    }

    fn json_as_text(&self, column: &str) -> String {
        format!("{column}::text")
    }

    fn json_field(&self, json: SimpleExpr, key: &'static str) -> SimpleExpr {
        Expr::cust_with_exprs("($1 ->> $2)", [json, Expr::value(key)])
    }

    fn bytewise(&self, text: SimpleExpr) -> SimpleExpr {
        Expr::cust_with_exprs("($1 COLLATE \"C\")", [text])
    }

    // A backslash is the default escape character of ILIKE, so no ESCAPE clause is needed.
    fn contains(&self, text: SimpleExpr, piece: &str) -> SimpleExpr {
        text.ilike(LikeExpr::new(containing(piece, '\\')))
    }

    fn does_not_contain(&self, text: SimpleExpr, piece: &str) -> SimpleExpr {
        text.not_ilike(LikeExpr::new(containing(piece, '\\')))
    }

    fn attribute_present(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        attribute("COALESCE(jsonb_typeof($1 -> $2) <> 'null', FALSE)", map, key)
    }

    fn attribute_text(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        let sql = "(CASE WHEN jsonb_typeof($1 -> $2) IN ('string', 'number', 'boolean') THEN $1 ->> $2 END)";
        attribute(sql, map, key)
    }

    fn attribute_number(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        let sql = "(CASE jsonb_typeof($1 -> $2) WHEN 'number' THEN ($1 ->> $2)::float8 WHEN 'string' THEN CASE WHEN length($1 ->> $2) <= 31 \
             AND ($1 ->> $2) ~ '^-?[0-9]+([.][0-9]+)?$' THEN ($1 ->> $2)::float8 END END)";
        attribute(sql, map, key)
    }

    fn attribute_date(&self, map: SimpleExpr, key: &str) -> SimpleExpr {
        let sql = "(CASE WHEN jsonb_typeof($1 -> $2) = 'string' AND ($1 ->> $2) ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}' \
             THEN substr($1 ->> $2, 1, 10) END COLLATE \"C\")";
        attribute(sql, map, key)
    }

    fn id_in_list(&self, id: SimpleExpr, ids: &[i64]) -> SimpleExpr {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let ids = format!("{{{}}}", ids.join(","));
        Expr::cust_with_exprs("$1 IN (SELECT unnest($2::text::bigint[]))", [id, Expr::value(ids)])
    }

    fn id_among_few(&self, id: SimpleExpr, ids: SelectStatement) -> SimpleExpr {
        // Pass the ids as an array, which PostgreSQL computes before it looks up the rows. With `IN (subquery)`, the planner's estimate for
        // the subquery can lead to a scan of the whole list.
        let ids = SimpleExpr::SubQuery(None, Box::new(ids.into()));
        Expr::cust_with_exprs("$1 = ANY (ARRAY $2)", [id, ids])
    }

    fn plans_by_selectivity(&self) -> bool {
        true
    }

    fn reserve_ids(&self, table: &'static str) -> IdReservation {
        IdReservation {
            prepare: None,
            reserve: format!("SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, $1)"),
            returned: ReturnedIds::Each,
        }
    }

    fn insert_json_rows(&self, table: &str, columns: &[&str], _json: &[&str]) -> String {
        let columns = columns.join(", ");
        format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1::text::jsonb)")
    }

    fn delete_batch(&self, table: &str, account: AccountId, rows: u64) -> String {
        format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE account_id = {account} LIMIT {rows}))")
    }

    // The time since which a contact has been waiting is indexed in a separate table, because it changes with every reply in a
    // conversation. An index on the column in `conversations` would prevent the HOT updates that messages rely on.
    fn waiting_table(&self) -> Option<&'static str> {
        Some("conversation_waits")
    }

    fn message_index(&self) -> MessageIndex {
        MessageIndex::NGrams
    }

    fn store_message_index(&self) -> &'static str {
        "INSERT INTO message_search (account_id, message_id, pieces) SELECT $1, (r ->> 0)::bigint, (r ->> 1)::bigint[] \
         FROM jsonb_array_elements($2::text::jsonb) AS r \
         WHERE EXISTS (SELECT FROM messages WHERE account_id = $1 AND id = (r ->> 0)::bigint) \
         ON CONFLICT (account_id, message_id) DO UPDATE SET pieces = EXCLUDED.pieces"
    }

    fn message_in_index(&self, account: AccountId, entry: &str) -> SimpleExpr {
        Expr::cust_with_values(
            "\"messages\".\"id\" IN (SELECT message_id FROM message_search WHERE account_id = $1 AND pieces @> $2::text::bigint[])",
            [Value::from(account.0), entry.into()],
        )
    }

    fn contacts_by_trigrams(&self, text: &str) -> Option<Condition> {
        // The trigram indexes support ILIKE.
        Some(self.contacts_by_pattern(text))
    }

    fn contacts_by_pattern(&self, text: &str) -> Condition {
        // `%` and `_` in the text are wildcards, but a backslash is an ordinary character, so it is escaped.
        let pattern = format!("%{}%", text.replace('\\', "\\\\"));
        let column = |column: Column| Expr::col((contact::Entity, column));
        let ilike = |expr: SimpleExpr| expr.ilike(LikeExpr::new(pattern.as_str()));
        Condition::any()
            .add(ilike(column(Column::Name)))
            .add(ilike(column(Column::Email)))
            .add(ilike(column(Column::PhoneNumber)))
            .add(ilike(Expr::cust(CONTACT_COMPANY)))
            .add(Column::Identifier.like(pattern.as_str()))
    }

    fn contacts_with_piece(&self, account: AccountId, piece: &str) -> SimpleExpr {
        // This must match the expression of the index. If a character becomes two characters in lower case, only the first one is compared.
        // sea-query does not bind values inside brackets, so `array_append` builds the array.
        Expr::cust_with_values(
            "parley_pieces(\"contacts\".\"account_id\", ARRAY[\"contacts\".\"name\", \"contacts\".\"email\", \
             \"contacts\".\"phone_number\", \"contacts\".\"identifier\", \"contacts\".\"additional_attributes\" ->> 'company_name']) \
             @> array_append('{}', CAST($1 AS text) || ':' || substr(lower(CAST($2 AS text)), 1, 2))",
            [account.0.to_string(), piece.to_owned()],
        )
    }

    fn count_contacts_with_piece(&self, account: AccountId, piece: &str, most: u64) -> Statement {
        let some = contact::Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::AccountId.eq(account))
            // Repeat the condition of the partial index, so that PostgreSQL can use the index.
            .filter(contact::is_resolved())
            .filter(self.contacts_with_piece(account, piece))
            .limit(most);
        let count = Query::select()
            .expr_as(Expr::cust("COUNT(*)"), "count")
            .from_subquery(QueryTrait::into_query(some), Alias::new("some"))
            .take();
        self.backend().build(&count)
    }
}

/// Applies an SQL template to a JSON map (`$1`) and a key (`$2`).
fn attribute(template: &'static str, map: SimpleExpr, key: &str) -> SimpleExpr {
    Expr::cust_with_exprs(template, [map, Expr::value(key)])
}
