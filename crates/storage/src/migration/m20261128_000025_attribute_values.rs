//! Creates indexes for filters on attributes, which are not columns. The attributes in the JSON of contacts and conversations are copied to
//! the rows of a narrow side table, which triggers maintain, so that an index finds the matches of selective conditions on a key, a value
//! or a number. Also creates indexes for blocked contacts and unanswered conversations.

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
        let sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        let (double, bytewise) = if sqlite {
            ("REAL", "")
        } else {
            ("double precision", "COLLATE \"C\"")
        };
        let table = format!(
            "CREATE TABLE IF NOT EXISTS attribute_values (
                account_id bigint NOT NULL, subject_kind smallint NOT NULL, subject_id bigint NOT NULL, source smallint NOT NULL,
                key text NOT NULL, value text {bytewise}, number {double},
                PRIMARY KEY (account_id, subject_kind, subject_id, source, key)
            )"
        );
        connection.execute_unprepared(&table).await?;
        for sql in INDEXES {
            connection.execute_unprepared(sql).await?;
        }
        let rest = if sqlite { on_sqlite() } else { on_postgres() };
        for sql in rest {
            connection.execute_unprepared(&sql).await?;
        }
        Ok(())
    }
}

const INDEXES: [&str; 2] = [
    "CREATE INDEX IF NOT EXISTS attribute_values_by_value ON attribute_values (account_id, subject_kind, source, key, value, subject_id)",
    "CREATE INDEX IF NOT EXISTS attribute_values_by_number ON attribute_values (account_id, subject_kind, source, key, number, subject_id)
        WHERE number IS NOT NULL",
];

/// Each table with its `subject_kind` and the additional attributes that filters support.
const TABLES: [(&str, i16, &[&str]); 2] = [
    ("contacts", 1, &["country_code", "city", "company"]),
    (
        "conversations",
        0,
        &[
            "browser_language",
            "conversation_language",
            "country_code",
            "referer",
            "mail_subject",
        ],
    ),
];

/// Custom attributes have the source 1, and additional attributes have the source 2. A long value is truncated to fit into the index, and
/// an attribute with a long key is left out. Only the first 100 custom attributes of a row are indexed, to limit the number of rows that a
/// write creates. A row with the source 3 marks that there are more attributes.
const FUNCTIONS: &str = "
CREATE OR REPLACE FUNCTION parley_attribute_values(custom jsonb, additional jsonb, named text[])
RETURNS TABLE (source smallint, key text, value text, number double precision) LANGUAGE sql STABLE AS $$
    SELECT CAST(1 AS smallint), given.key,
        CASE WHEN kind IN ('string', 'number', 'boolean') THEN substr(lower(word), 1, 255) END,
        CASE kind WHEN 'number' THEN CAST(word AS double precision) WHEN 'string' THEN
            CASE WHEN length(word) <= 31 AND word ~ '^-?[0-9]+([.][0-9]+)?$' THEN CAST(word AS double precision) END END
    FROM (SELECT * FROM jsonb_each(CASE jsonb_typeof(custom) WHEN 'object' THEN custom ELSE '{}' END) LIMIT 100) AS given,
        LATERAL (SELECT jsonb_typeof(given.value) AS kind, given.value #>> '{}' AS word) AS told
    WHERE kind <> 'null' AND length(given.key) <= 255
    UNION ALL
    SELECT CAST(2 AS smallint), name, substr(lower(additional ->> name), 1, 255), NULL
    FROM unnest(named) AS name WHERE additional ->> name IS NOT NULL
    UNION ALL
    SELECT CAST(3 AS smallint), '', NULL, NULL
    WHERE EXISTS (SELECT FROM jsonb_each(CASE jsonb_typeof(custom) WHEN 'object' THEN custom ELSE '{}' END) OFFSET 100)
$$;
CREATE OR REPLACE FUNCTION parley_keep_attributes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM attribute_values
            WHERE account_id = old.account_id AND subject_kind = CAST(TG_ARGV[0] AS smallint) AND subject_id = old.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO attribute_values (account_id, subject_kind, subject_id, source, key, value, number)
            SELECT new.account_id, CAST(TG_ARGV[0] AS smallint), new.id, told.*
            FROM parley_attribute_values(new.custom_attributes, new.additional_attributes, string_to_array(TG_ARGV[1], ',')) AS told;
    END IF;
    RETURN NULL;
END $$;
";

fn on_postgres() -> Vec<String> {
    let mut all = vec![FUNCTIONS.to_owned()];
    for (table, kind, named) in TABLES {
        let named = named.join(",");
        let keep = format!("FOR EACH ROW WHEN (%) EXECUTE FUNCTION parley_keep_attributes({kind}, '{named}')");
        let keep = |condition: &str| keep.replace('%', condition);
        let has = |row: &str| format!("{row}.custom_attributes <> '{{}}' OR {row}.additional_attributes <> '{{}}'");
        let changed = "old.custom_attributes IS DISTINCT FROM new.custom_attributes
            OR old.additional_attributes IS DISTINCT FROM new.additional_attributes";
        all.push(format!(
            "CREATE OR REPLACE TRIGGER {table}_attributes_insert AFTER INSERT ON {table} {};
            CREATE OR REPLACE TRIGGER {table}_attributes_update AFTER UPDATE OF custom_attributes, additional_attributes ON {table} {};
            CREATE OR REPLACE TRIGGER {table}_attributes_delete AFTER DELETE ON {table} {}",
            keep(&has("new")),
            keep(changed),
            keep(&has("old"))
        ));
        // The triggers record concurrent changes. Lock only a few hundred rows at a time, and only until their attribute rows are inserted,
        // because messages wait for the lock of their conversation's row.
        all.push(format!(
            "DO $$ DECLARE done bigint[] := '{{0,0}}'; upto bigint[]; BEGIN LOOP
                SELECT max(ARRAY[account_id, id]) INTO upto FROM (
                    SELECT account_id, id FROM {table} WHERE (account_id, id) > (done[1], done[2]) ORDER BY account_id, id LIMIT 500
                ) AS next;
                EXIT WHEN upto IS NULL;
                INSERT INTO attribute_values (account_id, subject_kind, subject_id, source, key, value, number)
                    SELECT subject.account_id, {kind}, subject.id, told.* FROM (
                        SELECT * FROM {table}
                        WHERE (account_id, id) > (done[1], done[2]) AND (account_id, id) <= (upto[1], upto[2]) AND ({})
                        FOR NO KEY UPDATE
                    ) AS subject,
                    LATERAL parley_attribute_values(custom_attributes, additional_attributes, string_to_array('{named}', ',')) AS told
                    ON CONFLICT DO NOTHING;
                COMMIT;
                done := upto;
            END LOOP; END $$",
            has(table)
        ));
    }
    all.extend(
        [
            // Without statistics, the planner assumes an empty table and chooses the wrong index until autovacuum analyzes the table.
            "ANALYZE attribute_values",
            "DROP INDEX CONCURRENTLY IF EXISTS contacts_blocked",
            "CREATE INDEX CONCURRENTLY contacts_blocked ON contacts (account_id, id) WHERE blocked",
            "DROP INDEX CONCURRENTLY IF EXISTS conversations_unanswered",
            "CREATE INDEX CONCURRENTLY conversations_unanswered ON conversations (account_id, id) WHERE first_reply_created_at IS NULL",
        ]
        .map(str::to_owned),
    );
    all
}

/// Returns SQL that inserts attribute rows. In a trigger, the SQL inserts the attributes of the row that fired the trigger; otherwise, it
/// inserts the attributes of all rows of a table.
fn values(table: &str, kind: i16, named: &[&str], is_trigger: bool) -> String {
    let each: Vec<String> = named.iter().map(|name| format!("SELECT '{name}' AS name")).collect();
    let each = each.join(" UNION ALL ");
    let (row, from, subject, apart) = if is_trigger {
        ("new.", String::new(), "", "")
    } else {
        (
            "given.",
            format!("{table} AS given,"),
            "subject.account_id, subject.id,",
            "PARTITION BY subject.account_id, subject.id",
        )
    };
    let (subjects, custom) = if is_trigger {
        (String::new(), "new.custom_attributes")
    } else {
        (format!("{table} AS subject,"), "subject.custom_attributes")
    };
    let given = format!(
        "(SELECT {subject} one.key, one.type, one.value, row_number() OVER ({apart}) AS nth FROM {subjects} json_each({custom}) AS one) AS given"
    );
    format!(
        "INSERT OR IGNORE INTO attribute_values (account_id, subject_kind, subject_id, source, key, value, number)
        SELECT {row}account_id, {kind}, {row}id, 1, given.key,
            CASE WHEN given.type IN ('true', 'false') THEN given.type
                WHEN given.type IN ('text', 'integer', 'real') THEN substr(lower(CAST(given.value AS TEXT)), 1, 255) END,
            CASE WHEN given.type IN ('integer', 'real') THEN CAST(given.value AS REAL)
                WHEN given.type = 'text' AND length(given.value) <= 31 AND given.value NOT GLOB '*[^0-9.-]*' AND given.value NOT GLOB '*.*.*'
                    AND substr(given.value, 2) NOT GLOB '*-*' AND given.value GLOB '*[0-9]'
                    AND (given.value GLOB '[0-9]*' OR given.value GLOB '-[0-9]*') THEN CAST(given.value AS REAL) END
        FROM {given} WHERE given.nth <= 100 AND given.type <> 'null' AND length(given.key) <= 255
        UNION ALL
        SELECT {row}account_id, {kind}, {row}id, 2, known.name, substr(lower({row}additional_attributes ->> known.name), 1, 255), NULL
        FROM {from} ({each}) AS known WHERE {row}additional_attributes ->> known.name IS NOT NULL
        UNION ALL
        SELECT {row}account_id, {kind}, {row}id, 3, '', NULL, NULL FROM {given} WHERE given.nth = 101"
    )
}

fn on_sqlite() -> Vec<String> {
    let mut all = Vec::new();
    for (table, kind, named) in TABLES {
        let insert = values(table, kind, named, true);
        let delete =
            format!("DELETE FROM attribute_values WHERE account_id = old.account_id AND subject_kind = {kind} AND subject_id = old.id");
        let changed = "old.custom_attributes IS NOT new.custom_attributes OR old.additional_attributes IS NOT new.additional_attributes";
        all.extend([
            format!("CREATE TRIGGER IF NOT EXISTS {table}_attributes_insert AFTER INSERT ON {table} BEGIN {insert}; END"),
            format!(
                "CREATE TRIGGER IF NOT EXISTS {table}_attributes_update AFTER UPDATE OF custom_attributes, additional_attributes ON {table}
                WHEN {changed} BEGIN {delete}; {insert}; END"
            ),
            format!("CREATE TRIGGER IF NOT EXISTS {table}_attributes_delete AFTER DELETE ON {table} BEGIN {delete}; END"),
            values(table, kind, named, false),
        ]);
    }
    all.extend(
        [
            "CREATE INDEX IF NOT EXISTS contacts_blocked ON contacts (account_id, id) WHERE blocked",
            "CREATE INDEX IF NOT EXISTS conversations_unanswered ON conversations (account_id, id) WHERE first_reply_created_at IS NULL",
        ]
        .map(str::to_owned),
    );
    all
}
