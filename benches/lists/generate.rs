//! Generates a large account with bulk inserts that bypass the service: contacts, each with a session and a conversation of ten messages.
//! The same seed produces the same rows on every database. No events are generated, because lists do not read them.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

/// Number of messages in each conversation.
pub const MESSAGES: i64 = 10;
/// Seed of the pseudo-random numbers.
const SEED: i64 = 7;
/// 2026-01-01T00:00:00Z, the time of the newest rows, and the period that they span, one year.
const NOW: i64 = 1_767_225_600_000_000;
const YEAR: i64 = 31_536_000_000_000;
/// Number of contacts that one SQLite statement creates, to keep transactions small.
const CHUNK: i64 = 20_000;

/// The differences between the SQL dialects of the two databases.
struct Dialect {
    hex: fn(&str) -> String,
    uuid: fn(&str) -> String,
    json: fn(&[(&str, String)]) -> String,
    yes: &'static str,
    no: &'static str,
}

fn object(function: &str, entries: &[(&str, String)]) -> String {
    let entries: Vec<_> = entries.iter().map(|(key, value)| format!("'{key}', {value}")).collect();
    format!("{function}({})", entries.join(", "))
}

const POSTGRES: Dialect = Dialect {
    hex: |number| format!("to_hex({number})"),
    uuid: |number| format!("lpad(to_hex({number}), 32, '0')::uuid"),
    json: |entries| object("jsonb_build_object", entries),
    yes: "TRUE",
    no: "FALSE",
};

const SQLITE: Dialect = Dialect {
    hex: |number| format!("printf('%x', {number})"),
    uuid: |number| format!("unhex(printf('%032x', {number}))"),
    json: |entries| object("json_object", entries),
    yes: "1",
    no: "0",
};

/// Returns an expression for a number below `below` that depends on `i`, the seed and the purpose `what`.
fn roll(what: i64, below: i64) -> String {
    format!("((i * 2654435761 + {what} * 40503 + {SEED} * 7919) % 1000003 * 31 + i) % {below}")
}

impl Dialect {
    /// Returns the statements that generate rows from the numbers `i` in the table `n`.
    fn statements(&self, inbox: i64, contacts: i64) -> Vec<String> {
        let name = |at: &str| format!("substr('AnaBeaCarDavEvaFinGilHugIdaJoa', CAST(1 + 3 * ({at}) AS integer), 3)");
        let surname = (self.hex)(&roll(2, 65_536));
        let attributes = (self.json)(&[
            ("city", format!("'City ' || ({})", roll(3, 200))),
            ("company_name", format!("'Company ' || ({})", roll(4, 5000))),
            ("country", format!("'Country ' || ({})", roll(5, 20))),
            ("country_code", format!("'C' || ({})", roll(15, 200))),
        ]);
        let custom = (self.json)(&[
            ("plan", format!("CASE WHEN {} = 0 THEN 'Gold' ELSE 'Basic' END", roll(6, 100))),
            ("seats", roll(16, 50_000)),
        ]);
        let active = format!("{NOW} - ({}) * {}", roll(7, 100_000), YEAR / 100_000);
        let started = format!("{NOW} - {YEAR} - i * 1000000");
        let (yes, no) = (self.yes, self.no);
        let uuid = (self.uuid)("i");
        let rare = format!("CASE WHEN {} = 0 THEN ' zarathustra' ELSE '' END", roll(8, 1000));
        let contact = format!(
            "INSERT INTO contacts (id, account_id, name, email, phone_number, identifier, blocked, additional_attributes, custom_attributes, \
             avatar_url, last_activity_at, created_at, updated_at, version) \
             SELECT i, 1, {} || ' ' || {surname} || {rare}, CASE WHEN i % 10 > 0 THEN 'person' || i || '@example' || (i % 100) || '.org' END, \
             CASE WHEN i % 2 > 0 THEN '+1555' || (1000000 + i) END, CASE WHEN i % 4 = 1 THEN 'CRM-' || i END, \
             CASE WHEN {} = 0 THEN {yes} ELSE {no} END, {attributes}, {custom}, '', CASE WHEN i % 7 > 0 THEN {active} END, {started}, {started}, 0 FROM n",
            name(&roll(1, 10)),
            roll(9, 500),
        );
        let session = format!(
            "INSERT INTO contact_inboxes (id, account_id, contact_id, inbox_id, source_id, hmac_verified, pubsub_token, created_at, updated_at) \
             SELECT i, 1, i, {inbox}, 'source-' || i, {no}, 'token-' || i, {started}, {started} FROM n"
        );
        // Of a hundred conversations, ninety are resolved, six open, three pending and one snoozed.
        let status = format!(
            "CASE WHEN {0} < 90 THEN 1 WHEN {0} < 96 THEN 0 WHEN {0} < 99 THEN 2 ELSE 3 END",
            format!("({})", roll(10, 100))
        );
        let last = format!("{contacts} * {} + i", MESSAGES - 1);
        let conversation = format!(
            "INSERT INTO conversations (account_id, id, uuid, inbox_id, contact_id, contact_inbox_id, status, priority, assignee_id, \
             additional_attributes, custom_attributes, waiting_since, first_reply_created_at, last_activity_at, unread_count, message_count, last_message_id, \
             last_non_activity_message_id, last_public_message_id, created_at, updated_at, version) \
             SELECT 1, i, {uuid}, {inbox}, i, i, {status}, CASE WHEN {} < 4 THEN {} END, CASE WHEN {} = 0 THEN 1 END, {attributes}, {custom}, \
             CASE WHEN {} = 0 THEN {active} END, CASE WHEN {} > 0 THEN {active} END, {active}, 0, {MESSAGES}, {last}, {last}, {last}, {started}, {active}, 0 FROM n",
            roll(11, 40),
            roll(11, 4),
            roll(12, 20),
            roll(13, 100),
            roll(17, 200),
        );
        let labelled = |kind: i64, name: &str, below: i64| {
            format!(
                "INSERT INTO labelings (account_id, subject_kind, subject_id, name, position) \
                 SELECT 1, {kind}, i, '{name}', {below} FROM n WHERE {} = 0",
                roll(14 + kind, below)
            )
        };
        let mut all = vec![contact, session, conversation];
        for kind in [0, 1] {
            all.push(labelled(kind, "vip", 100));
            all.push(labelled(kind, "billing", 10));
        }
        for nth in 0..MESSAGES {
            all.push(format!(
                "INSERT INTO messages (account_id, id, conversation_id, number, inbox_id, message_type, content, content_type, content_attributes, \
                 status, private, sender_type, sender_id, additional_attributes, created_at, updated_at, version) \
                 SELECT 1, {contacts} * {nth} + i, i, {nth} + 1, {inbox}, {nth} % 2, 'order ' || {} || ' arrived damaged, please send a \
                 replacement to my new address' || {rare}, 0, '{{}}', 0, {no}, CASE WHEN {nth} % 2 = 0 THEN 0 ELSE 1 END, \
                 CASE WHEN {nth} % 2 = 0 THEN i ELSE 1 END, '{{}}', {started} + {nth}, {started} + {nth}, 0 FROM n",
                (self.hex)(&roll(20 + nth, 1_000_003)),
            ));
        }
        all
    }
}

/// The custom attributes of contacts and conversations: a text and a number.
const DEFINITIONS: &str = "INSERT INTO custom_attribute_definitions (account_id, model, key, display_name, display_type, choices, created_at, \
     updated_at) VALUES (1, 0, 'plan', 'Plan', 0, '[]', 0, 0), (1, 0, 'seats', 'Seats', 1, '[]', 0, 0), \
     (1, 1, 'plan', 'Plan', 0, '[]', 0, 0), (1, 1, 'seats', 'Seats', 1, '[]', 0, 0)";

/// Generates `contacts` contacts in account 1 on PostgreSQL.
pub async fn postgres(url: &str, inbox: i64, contacts: i64) {
    let mut connection = PgConnection::connect(url).await.expect("the cluster accepts connections");
    for statement in POSTGRES.statements(inbox, contacts) {
        let numbered = format!("WITH n AS (SELECT i FROM generate_series(1::bigint, {contacts}) AS s(i)) {statement}");
        connection.execute(AssertSqlSafe(numbered)).await.expect("the rows are valid");
    }
    for table in ["contacts", "contact_inboxes"] {
        let statement = format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), {contacts})");
        connection.execute(AssertSqlSafe(statement)).await.expect("the sequence exists");
    }
    connection
        .execute(AssertSqlSafe(counted(contacts)))
        .await
        .expect("the counters exist");
    connection.execute(DEFINITIONS).await.expect("the rows are valid");
    connection.execute("VACUUM ANALYZE").await.expect("the statement is permitted");
}

/// Generates `contacts` contacts in account 1 on SQLite.
pub async fn sqlite(url: &str, inbox: i64, contacts: i64) {
    let mut connection = SqliteConnection::connect(url).await.expect("the file exists");
    connection
        .execute("PRAGMA busy_timeout = 60000; PRAGMA synchronous = OFF")
        .await
        .expect("the statement is permitted");
    for statement in SQLITE.statements(inbox, contacts) {
        for begin in (0..contacts).step_by(usize::try_from(CHUNK).expect("small")) {
            let (first, last) = (begin + 1, contacts.min(begin + CHUNK));
            let numbered = format!("WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) {statement}");
            connection.execute(AssertSqlSafe(numbered)).await.expect("the rows are valid");
        }
    }
    connection
        .execute(AssertSqlSafe(counted(contacts)))
        .await
        .expect("the counters exist");
    connection.execute(DEFINITIONS).await.expect("the rows are valid");
    connection.execute("ANALYZE").await.expect("the statement is permitted");
}

fn counted(contacts: i64) -> String {
    let messages = contacts * MESSAGES;
    format!("UPDATE account_logs SET last_message_id = {messages}, last_conversation_id = {contacts} WHERE account_id = 1")
}
