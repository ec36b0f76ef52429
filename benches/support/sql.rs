//! SQL baselines that pgbench cannot run: the ceiling of batched inserts, and SQLite with one message per transaction.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rand::Rng as _;
use sqlx::{
    Connection as _, PgConnection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::task::JoinSet;

use super::CONTENT;

/// Number of conversations in the tables, as in `sql/schema.sql`.
const CONVERSATIONS: i64 = 16_000;
/// Number of messages per transaction of the ceiling.
const BATCH: usize = 128;
/// Returns an event payload of the size that `sql/naive.sql` writes.
fn payload() -> String {
    format!("{CONTENT}{}", &CONTENT[..81])
}

/// Returns messages per second when writing messages with their events at full speed, 128 per transaction, on two connections.
pub async fn batch_ceiling(url: &str, seconds: u64) -> f64 {
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let mut connection = PgConnection::connect(url).await.expect("the cluster accepts connections");
        tasks.spawn(async move {
            let contents = vec![CONTENT.to_owned(); BATCH];
            let payloads = vec![payload(); BATCH];
            let mut count = 0;
            while Instant::now() < end {
                let conversations: Vec<i64> = (0..BATCH).map(|_| rand::rng().random_range(1..=CONVERSATIONS)).collect();
                let accounts: Vec<i64> = conversations.iter().map(|id| id % 16).collect();
                let mut txn = connection.begin().await.expect("a transaction starts");
                sqlx::query(
                    "INSERT INTO messages(conversation_id, account_id, sender, content) \
                     SELECT c, a, 'contact', t FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS x(c, a, t) RETURNING id",
                )
                .bind(&conversations)
                .bind(&accounts)
                .bind(&contents)
                .fetch_all(&mut *txn)
                .await
                .expect("the messages are valid");
                sqlx::query(
                    "INSERT INTO events(account_id, kind, payload) \
                     SELECT a, 'message.created', p FROM unnest($1::bigint[], $2::text[]) AS x(a, p)",
                )
                .bind(&accounts)
                .bind(&payloads)
                .execute(&mut *txn)
                .await
                .expect("the events are valid");
                txn.commit().await.expect("the transaction commits");
                count += BATCH;
            }
            count
        });
    }
    let count: usize = tasks.join_all().await.into_iter().sum();
    count as f64 / started.elapsed().as_secs_f64()
}

/// A SQLite file with the tables of `sql/schema.sql`, written with one message per transaction.
#[derive(Debug)]
pub struct OneByOne(SqliteConnection);

impl OneByOne {
    /// Creates the file with WAL and `synchronous=FULL`.
    pub async fn create(file: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = SqliteConnection::connect_with(&options).await.expect("the file can be created");
        sqlx::raw_sql(
            "CREATE TABLE conversations(id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, contact_id INTEGER NOT NULL, status TEXT NOT NULL,
               last_message_at TEXT, message_count INTEGER NOT NULL DEFAULT 0);
             CREATE TABLE messages(id INTEGER PRIMARY KEY, conversation_id INTEGER NOT NULL REFERENCES conversations(id), account_id INTEGER NOT NULL,
               sender TEXT NOT NULL, content TEXT NOT NULL, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
             CREATE INDEX messages_conversation ON messages(conversation_id, id);
             CREATE TABLE events(seq INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
               created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
             CREATE INDEX events_account ON events(account_id, seq);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 16000)
               INSERT INTO conversations SELECT i, i % 16, i, 'open', NULL, 0 FROM n;",
        )
        .execute(&mut connection)
        .await
        .expect("the schema is valid");
        Self(connection)
    }

    /// Returns messages per second.
    pub async fn run(&mut self, seconds: u64) -> f64 {
        let payload = payload();
        let started = Instant::now();
        let end = started + Duration::from_secs(seconds);
        let mut count = 0_u32;
        while Instant::now() < end {
            let conversation = rand::rng().random_range(1..=CONVERSATIONS);
            self.write(conversation, &payload).await.expect("the message is valid");
            count += 1;
        }
        f64::from(count) / started.elapsed().as_secs_f64()
    }

    async fn write(&mut self, conversation: i64, payload: &str) -> Result<(), sqlx::Error> {
        let mut txn = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let (account, _status): (i64, String) = sqlx::query_as("SELECT account_id, status FROM conversations WHERE id = ?")
            .bind(conversation)
            .fetch_one(&mut *txn)
            .await?;
        sqlx::query("INSERT INTO messages(conversation_id, account_id, sender, content) VALUES (?, ?, 'contact', ?)")
            .bind(conversation)
            .bind(account)
            .bind(CONTENT)
            .execute(&mut *txn)
            .await?;
        sqlx::query("INSERT INTO events(account_id, kind, payload) VALUES (?, 'message.created', ?)")
            .bind(account)
            .bind(payload)
            .execute(&mut *txn)
            .await?;
        sqlx::query("UPDATE conversations SET last_message_at = CURRENT_TIMESTAMP, message_count = message_count + 1 WHERE id = ?")
            .bind(conversation)
            .execute(&mut *txn)
            .await?;
        txn.commit().await
    }
}
