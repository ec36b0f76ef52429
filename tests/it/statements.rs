//! Lists use a fixed number of statements, regardless of how many rows they return. PostgreSQL counts the transactions of a session when it
//! ends, and each statement that only reads is a transaction.

use parley_proto::{ListContactsRequest, ListConversationsRequest};
use sqlx::{Connection as _, PgConnection};

use crate::support::{api_fixture::ApiFixture, app::TestApp, database::Backend};

/// The rows of a full page.
const ROWS: i32 = 20;
/// How often each list is requested: often enough that other activity is negligible.
const TIMES: i64 = 100;

async fn transactions(app: &TestApp) -> i64 {
    let mut connection = PgConnection::connect(&app.database.url()).await.expect("the database is there");
    sqlx::query_scalar("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(&mut connection)
        .await
        .expect("it is counted")
}

/// The transactions of a server that repeatedly returns this many rows, from its start to its end.
async fn cost(app: &mut TestApp, rows: i32) -> i64 {
    app.start_again().await;
    let fixture = app.fixture();
    for _ in 0..TIMES {
        ask(&fixture, rows).await;
    }
    app.server.terminate();
    app.server.wait().await;
    transactions(app).await
}

async fn ask(fixture: &ApiFixture, rows: i32) {
    let request = ListConversationsRequest {
        account_id: 1,
        page_size: rows,
        ..ListConversationsRequest::default()
    };
    let answer = fixture
        .clients
        .conversations
        .clone()
        .list_conversations(request)
        .await
        .expect("listed");
    assert_eq!(i32::try_from(answer.into_inner().conversations.len()), Ok(rows));
    let request = ListContactsRequest {
        account_id: 1,
        page_size: rows,
        ..ListContactsRequest::default()
    };
    let answer = fixture.clients.contacts.clone().list_contacts(request).await.expect("listed");
    assert_eq!(i32::try_from(answer.into_inner().contacts.len()), Ok(rows));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_run_no_statement_per_row_on_postgres() {
    let mut app = TestApp::start(Backend::Postgres).await;
    let fixture = app.fixture();
    for nth in 0..ROWS {
        let request = parley_proto::CreateContactRequest {
            account_id: 1,
            identifier: Some(format!("crm-{nth}")),
            inbox_id: Some(1),
            source_id: Some(format!("source-{nth}")),
            ..Default::default()
        };
        let made = fixture
            .clients
            .contacts
            .clone()
            .create_contact(request)
            .await
            .expect("made")
            .into_inner();
        let person = crate::support::api_fixture::Person {
            contact: made.contact.expect("always set").id,
            source: format!("source-{nth}"),
        };
        let id = fixture.conversation(&person).await.id;
        fixture.hear(id, "hello").await;
        fixture.say(id, "hello").await;
    }
    app.server.terminate();
    app.server.wait().await;
    let begun = transactions(&app).await;
    let one = cost(&mut app, 1).await;
    let many = cost(&mut app, ROWS).await;
    let (one, many) = (one - begun, many - one);
    assert!(
        one > 5 * TIMES,
        "{one} transactions for {TIMES} calls of each list: they are not counted"
    );
    // One statement per row would add 1,900 for either list. Background jobs add some hundred if the machine is slow.
    assert!(
        many < one + TIMES * i64::from(ROWS - 1) / 2,
        "{one} transactions for one row, {many} for {ROWS}"
    );
}
