//! Connections to PostgreSQL whose other end disappears without closing them: no error is reported and no data arrives. Writes and
//! background jobs must time out and abandon such connections.

use std::time::Duration;

use parley_proto::{Contact, ConversationStatus, UpdateContactRequest, UpdateConversationStatusRequest};
use prost_types::{FieldMask, Timestamp};
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Status};

use crate::support::{api_fixture::outgoing, database::Database, in_time, link::behind_a_proxy};

/// Retries until success. Every error before that must ask for a retry.
async fn until_done<T, F: Future<Output = Result<T, Status>>>(what: &str, ask: impl Fn() -> F) {
    in_time(what, async {
        while let Err(status) = ask().await {
            assert!(
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
                "{what}: {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_abandon_dead_connections_on_postgres() {
    let (app, proxy, _) = behind_a_proxy(&[("PARLEY_DATABASE_WRITE_TIMEOUT_SECONDS", "2")]).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let contact = fixture.person("Asha").await.contact;
    let rename = || async {
        let request = UpdateContactRequest {
            account_id: 1,
            contact: Some(Contact {
                id: contact,
                name: uuid::Uuid::new_v4().to_string(),
                ..Contact::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["name".to_owned()],
            }),
            ..UpdateContactRequest::default()
        };
        fixture.clients.contacts.clone().update_contact(request).await
    };
    for round in 0..2 {
        // All connections were used a moment ago, so none is tested before its next use.
        fixture.say(conversation, "before").await;
        rename().await.expect("changed");
        proxy.strand();
        if round == 0 {
            until_done("a message", || fixture.send(conversation, outgoing("after"))).await;
            until_done("a change", rename).await;
        } else {
            until_done("a change", rename).await;
            until_done("a message", || fixture.send(conversation, outgoing("after"))).await;
        }
    }
}

/// An idle connection is tested before use, so this connection is cut off while a query waits for its result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_jobs_abandon_dead_connections_on_postgres() {
    let (app, proxy, _) = behind_a_proxy(&[("PARLEY_DATABASE_WRITE_TIMEOUT_SECONDS", "5")]).await;
    let fixture = app.fixture();
    let soon = std::time::SystemTime::now() + Duration::from_secs(1);
    let request = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id: fixture.talk().await,
        status: ConversationStatus::Snoozed.into(),
        snoozed_until: Some(Timestamp::from(soon)),
        ..UpdateConversationStatusRequest::default()
    };
    let mut conversations = fixture.clients.conversations.clone();
    conversations.update_conversation_status(request).await.expect("it is snoozed");
    let url = app.database.url();
    let mut keeper = PgConnection::connect(&url).await.expect("the database is there");
    for sql in ["BEGIN", "LOCK TABLE conversations"] {
        sqlx::query(sql).execute(&mut keeper).await.expect("nobody can read it");
    }
    let waiting = "SELECT CAST(count(*) AS bigint) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
         AND query LIKE '%snoozed_until%'";
    in_time("upkeep looks", async {
        while Database::number(&url, waiting).await == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    proxy.strand();
    keeper.close().await.expect("it lets go");
    let asleep = "SELECT CAST(count(*) AS bigint) FROM conversations WHERE snoozed_until IS NOT NULL";
    in_time("the conversation wakes", async {
        while Database::number(&url, asleep).await > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}
