//! What callers notice when the server's connections to PostgreSQL are closed.

use std::time::Duration;

use crate::support::{
    api_fixture::outgoing,
    app::TestApp,
    database::{Backend, execute},
};

/// Idle connections end, by a proxy that drops them or by a restart of the database. The first writes afterwards must succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_after_a_pause_skip_closed_connections_on_postgres() {
    let app = TestApp::start(Backend::Postgres).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for text in ["the lane has a connection", "the lane has the rows at hand"] {
        fixture.say(conversation, text).await;
    }
    // Longer than the idle time after which the server tests a connection before use.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    execute(&app.database.url(), end).await;
    // The message uses the writer shard's own connection, and the pool for the lookup of stored responses. The conversation uses a
    // transaction of the pool.
    let taken = fixture.send(conversation, outgoing("good morning")).await;
    assert!(taken.is_ok(), "a message after the connections ended: {taken:?}");
    let other = fixture.talk().await;
    assert_ne!(other, conversation, "a verb after the connections ended");
}

/// A body is refused before all of it has arrived. The client must receive the response instead of a connection reset, and must learn that
/// the connection closes, so that the next request is not lost either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_of_a_large_body_reaches_the_client() {
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    let contacts = "/api/v1/accounts/1/contacts";
    for (size, times) in [(24, 10), (5, 60)] {
        let body = "x".repeat(size * 1024 * 1024);
        for _ in 0..times {
            let request = http.request("POST", contacts).header("content-type", "application/json");
            let answer = http.answer(request.body(body.clone())).await;
            assert_eq!((answer.status, answer.body["error"].as_str()), (413, Some("Payload Too Large")));
            assert_eq!(answer.headers["connection"], "close");
            let next = http.send("GET", contacts, None).await;
            assert_eq!(next.status, 200);
            assert!(!next.headers.contains_key("connection"));
        }
    }
}
