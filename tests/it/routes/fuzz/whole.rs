//! Consistency of the database after arbitrary requests: every row has its event, every event has its rows, and no write is stored in part.

use std::{collections::BTreeSet, time::Duration};

use parley_proto::event::Resource;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::files::place::Place;
use crate::support::{
    app::TestApp,
    chain::{assert_dense, assert_whole_writes},
    database::Database,
    in_time,
    reader::{event, whole_log},
};

/// Inconsistencies, each with the query that counts it. `live` is replaced by the accounts that are not being deleted, because a deletion
/// removes the rows of its account step by step.
const WRONG: [(&str, &str); 19] = [
    (
        "logs with a hole, or without their end",
        "SELECT COUNT(*) FROM account_logs l WHERE account_id IN live AND head_seq <> (SELECT COUNT(*) FROM events e WHERE e.account_id = \
         l.account_id AND e.seq BETWEEN 1 AND l.head_seq) OR EXISTS (SELECT 1 FROM events e WHERE e.account_id = l.account_id AND e.seq > l.head_seq)",
    ),
    (
        // Or the event of a label's change, which is one event for all contacts with the label.
        "contacts whose last change has no event",
        "SELECT COUNT(*) FROM contacts r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM events e WHERE e.account_id = r.account_id \
         AND e.seq = r.version AND (e.contact_id = r.id AND e.kind BETWEEN 12 AND 15 OR e.kind IN (28, 29)))",
    ),
    (
        // Or the event of an agent, team or label that was removed, which is one event for all conversations that had it.
        "conversations whose last change has no event",
        "SELECT COUNT(*) FROM conversations r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM events e WHERE e.account_id = r.account_id \
         AND e.seq = r.version AND (e.conversation_id = r.id OR e.kind IN (23, 26, 28, 29)))",
    ),
    (
        "messages whose last change has no event",
        "SELECT COUNT(*) FROM messages r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM events e WHERE e.account_id = r.account_id \
         AND e.seq = r.version AND e.conversation_id = r.conversation_id AND e.kind IN (1, 2))",
    ),
    (
        "contacts that nothing made",
        "SELECT COUNT(*) FROM contacts r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM events e WHERE e.account_id = r.account_id \
         AND e.contact_id = r.id AND e.kind = 12)",
    ),
    (
        "conversations that nothing made",
        "SELECT COUNT(*) FROM conversations r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM events e WHERE e.account_id = r.account_id \
         AND e.conversation_id = r.id AND e.kind = 3)",
    ),
    (
        "contacts that were made and are neither there nor merged nor deleted",
        "SELECT COUNT(*) FROM events e WHERE account_id IN live AND kind = 12 AND NOT EXISTS (SELECT 1 FROM contacts r WHERE r.id = e.contact_id) \
         AND NOT EXISTS (SELECT 1 FROM contact_merges m WHERE m.account_id = e.account_id AND m.contact_id = e.contact_id) \
         AND NOT EXISTS (SELECT 1 FROM events d WHERE d.account_id = e.account_id AND d.contact_id = e.contact_id AND d.kind = 15)",
    ),
    (
        "conversations that were made and are neither there nor deleted, by themselves or with their contact",
        "SELECT COUNT(*) FROM events e WHERE account_id IN live AND kind = 3 \
         AND NOT EXISTS (SELECT 1 FROM conversations r WHERE r.account_id = e.account_id AND r.id = e.conversation_id) \
         AND NOT EXISTS (SELECT 1 FROM events d WHERE d.account_id = e.account_id AND d.conversation_id = e.conversation_id AND d.kind = 7) \
         AND NOT EXISTS (SELECT 1 FROM events o JOIN events d ON d.account_id = o.account_id AND d.contact_id = o.contact_id AND d.kind = 15 \
         WHERE o.account_id = e.account_id AND o.conversation_id = e.conversation_id)",
    ),
    (
        "conversations whose messages are not those that were numbered and told",
        "SELECT COUNT(*) FROM conversations c WHERE account_id IN live AND (\
         message_count <> (SELECT COUNT(*) FROM messages m WHERE m.account_id = c.account_id AND m.conversation_id = c.id) \
         OR message_count <> (SELECT COALESCE(MAX(number), 0) FROM messages m WHERE m.account_id = c.account_id AND m.conversation_id = c.id) \
         OR message_count <> (SELECT COUNT(*) FROM events e WHERE e.account_id = c.account_id AND e.conversation_id = c.id AND e.kind = 1))",
    ),
    (
        "counters behind their rows",
        "SELECT COUNT(*) FROM account_logs l WHERE account_id IN live AND (\
         last_message_id < (SELECT COALESCE(MAX(id), 0) FROM messages m WHERE m.account_id = l.account_id) \
         OR last_conversation_id < (SELECT COALESCE(MAX(id), 0) FROM conversations c WHERE c.account_id = l.account_id))",
    ),
    (
        "messages of no conversation",
        "SELECT COUNT(*) FROM messages r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM conversations c WHERE c.account_id = r.account_id \
         AND c.id = r.conversation_id)",
    ),
    (
        "conversations of no contact, session or inbox of their account",
        "SELECT COUNT(*) FROM conversations r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM contacts c \
         JOIN contact_inboxes s ON s.contact_id = c.id JOIN inboxes i ON i.id = s.inbox_id WHERE c.id = r.contact_id AND s.id = r.contact_inbox_id \
         AND i.id = r.inbox_id AND c.account_id = r.account_id AND s.account_id = r.account_id AND i.account_id = r.account_id)",
    ),
    (
        "conversations whose newest message is not there",
        "SELECT COUNT(*) FROM conversations r WHERE account_id IN live AND last_message_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM messages m \
         WHERE m.account_id = r.account_id AND m.id = r.last_message_id AND m.conversation_id = r.id)",
    ),
    (
        "labels of what is not there",
        "SELECT COUNT(*) FROM labelings r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM contacts c WHERE subject_kind = 1 AND c.id = subject_id) \
         AND NOT EXISTS (SELECT 1 FROM conversations c WHERE subject_kind = 0 AND c.account_id = r.account_id AND c.id = subject_id)",
    ),
    (
        "participants and notes of what is not there",
        "SELECT (SELECT COUNT(*) FROM conversation_participants r WHERE account_id IN live AND NOT EXISTS (SELECT 1 FROM conversations c \
         WHERE c.account_id = r.account_id AND c.id = r.conversation_id)) + (SELECT COUNT(*) FROM contact_notes r WHERE account_id IN live \
         AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.account_id = r.account_id AND c.id = r.contact_id))",
    ),
    (
        "attachments of no message",
        "SELECT COUNT(*) FROM attachments r WHERE account_id IN live AND state = 1 AND message_id <> 0 AND NOT EXISTS (SELECT 1 FROM messages m \
         WHERE m.account_id = r.account_id AND m.id = r.message_id)",
    ),
    (
        "pictures that nothing shows",
        "SELECT COUNT(*) FROM attachments r WHERE account_id IN live AND state = 1 AND message_id = 0 \
         AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.account_id = r.account_id AND c.avatar_url = r.thumb_url AND c.avatar_url <> '') \
         AND NOT EXISTS (SELECT 1 FROM inboxes i WHERE i.account_id = r.account_id AND i.avatar_url = r.thumb_url AND i.avatar_url <> '')",
    ),
    (
        "changes of users or bots that nobody told of",
        "SELECT COUNT(*) FROM announcements r WHERE account_id IN live",
    ),
    (
        "uploads that a message claims to have",
        "SELECT COUNT(*) FROM attachments r WHERE account_id IN live AND state = 0 AND message_id <> 0",
    ),
];

/// Additional checks of tables that exist on PostgreSQL only.
const WRONG_ON_POSTGRES: [(&str, &str); 2] = [
    (
        "waits that their conversations do not tell of, or the other way round",
        "SELECT COUNT(*) FROM conversations c FULL JOIN conversation_waits w ON w.account_id = c.account_id AND w.conversation_id = c.id \
         WHERE c.waiting_since IS DISTINCT FROM w.since",
    ),
    (
        "attributes that do not stand in their table as they are, or the other way round",
        "WITH told AS (SELECT c.account_id, 1 AS kind, c.id, t.* FROM contacts c, LATERAL parley_attribute_values(custom_attributes, \
         additional_attributes, '{country_code,city,company}') t UNION ALL SELECT c.account_id, 0, c.id, t.* FROM conversations c, LATERAL \
         parley_attribute_values(custom_attributes, additional_attributes, \
         '{browser_language,conversation_language,country_code,referer,mail_subject}') t), \
         kept AS (SELECT account_id, subject_kind, subject_id, source, key, value, number FROM attribute_values) \
         SELECT (SELECT COUNT(*) FROM (SELECT * FROM told EXCEPT SELECT * FROM kept) AS missing) \
         + (SELECT COUNT(*) FROM (SELECT * FROM kept EXCEPT SELECT * FROM told) AS wrong)",
    ),
];

/// Additional checks that use functions of SQLite.
const WRONG_ON_SQLITE: [(&str, &str); 1] = [(
    "attributes that do not stand in their table as they are, or the other way round",
    "WITH told AS (SELECT c.account_id, 1 AS kind, c.id, j.key, j.type, j.value FROM contacts c, json_each(c.custom_attributes) j \
     WHERE j.type <> 'null' UNION ALL SELECT c.account_id, 0, c.id, j.key, j.type, j.value FROM conversations c, \
     json_each(c.custom_attributes) j WHERE j.type <> 'null') \
     SELECT (SELECT COUNT(*) FROM told LEFT JOIN attribute_values a ON a.account_id = told.account_id AND a.subject_kind = told.kind \
     AND a.subject_id = told.id AND a.source = 1 AND a.key = told.key WHERE length(told.key) <= 255 AND (a.key IS NULL \
     OR told.type IN ('text', 'integer', 'real') AND a.value IS NOT substr(lower(CAST(told.value AS TEXT)), 1, 255))) \
     + (SELECT COUNT(*) FROM attribute_values a WHERE source = 1 AND NOT EXISTS (SELECT 1 FROM told WHERE told.account_id = a.account_id \
     AND told.kind = a.subject_kind AND told.id = a.subject_id AND told.key = a.key))",
)];

/// Resources whose creation and deletion leave events, each with the query of the existing ids.
const NOUNS: [(&str, &str); 7] = [
    ("inbox", "SELECT id FROM inboxes WHERE account_id = 1"),
    ("agent", "SELECT user_id FROM memberships WHERE account_id = 1"),
    ("agent_bot", "SELECT id FROM agent_bots WHERE account_id = 1"),
    ("team", "SELECT id FROM teams WHERE account_id = 1"),
    ("label", "SELECT id FROM labels WHERE account_id = 1"),
    (
        "custom_attribute_definition",
        "SELECT id FROM custom_attribute_definitions WHERE account_id = 1",
    ),
    ("canned_response", "SELECT id FROM canned_responses WHERE account_id = 1"),
];

async fn ids(url: &str, query: &str) -> Vec<i64> {
    let query = AssertSqlSafe(query.replace("IN live", "IN (SELECT id FROM accounts WHERE status <> 2)"));
    let ids = if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await.expect("the file is there");
        sqlx::query_scalar(query).fetch_all(&mut connection).await
    } else {
        let mut connection = PgConnection::connect(url).await.expect("the server is there");
        sqlx::query_scalar(query).fetch_all(&mut connection).await
    };
    ids.expect("the query is good")
}

/// Fails if anything is stored in part or lacks its counterpart. Returns the number of stored files that are referenced.
pub async fn assert_whole(app: &TestApp, what: &str) -> i64 {
    let url = app.database.url();
    let mut wrong = Vec::new();
    let more: &[_] = if url.starts_with("sqlite") {
        &WRONG_ON_SQLITE
    } else {
        &WRONG_ON_POSTGRES
    };
    for (name, query) in WRONG.iter().chain(more) {
        let count = ids(&url, query).await[0];
        if count > 0 {
            wrong.push(format!("{count} {name}"));
        }
    }
    let log = whole_log(&app.clients(), 1).await;
    assert_dense(&log, 1);
    assert_whole_writes(&log);
    for (noun, query) in NOUNS {
        // The first inbox and its administrator were created before the log began.
        let mut told: BTreeSet<i64> = ["inbox", "agent"].contains(&noun).then_some(1).into_iter().collect();
        for event in log.iter().map(event) {
            let Some((id, kind)) = record(event.resource.as_ref()) else {
                continue;
            };
            match event.kind_name.strip_prefix(noun) {
                Some(".created" | ".added") if kind == noun => _ = told.insert(id),
                Some(".deleted" | ".removed") if kind == noun => _ = told.remove(&id),
                _ => {}
            }
        }
        let there: BTreeSet<i64> = ids(&url, query).await.into_iter().collect();
        if told != there {
            wrong.push(format!("{noun}s {there:?} are there, {told:?} by the log"));
        }
    }
    assert!(wrong.is_empty(), "{what}: {}", wrong.join("\n"));
    uploads_go(app, what).await
}

fn record(resource: Option<&Resource>) -> Option<(i64, &'static str)> {
    Some(match resource? {
        Resource::Inbox(it) => (it.inbox.as_ref()?.id, "inbox"),
        Resource::Agent(it) => (it.id, "agent"),
        Resource::AgentBot(it) => (it.id, "agent_bot"),
        Resource::Team(it) => (it.id, "team"),
        Resource::Label(it) => (it.id, "label"),
        Resource::CustomAttributeDefinition(it) => (it.id, "custom_attribute_definition"),
        Resource::CannedResponse(it) => (it.id, "canned_response"),
        _ => return None,
    })
}

/// Unused uploads are removed after a day, and the folder contains exactly the files that have a row.
async fn uploads_go(app: &TestApp, what: &str) -> i64 {
    let url = app.database.url();
    let left = async || Database::number(&url, "SELECT COUNT(*) FROM attachments WHERE state <> 1").await;
    println!("{} uploads and files let go wait for upkeep", left().await);
    app.database
        .run("UPDATE attachments SET created_at = created_at - 86401000000 WHERE state = 0")
        .await;
    in_time("uploads that nobody took to go", async {
        while left().await > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let objects = Database::number(&url, "SELECT COUNT(object) + COUNT(thumb_size) FROM attachments").await;
    assert_eq!(
        Place::folder(app).objects().await,
        usize::try_from(objects).expect("a number"),
        "{what}: the files in the folder are those that have a row"
    );
    objects
}
