//! A system clock that jumps: data is not removed because it suddenly looks old, what is kept for a period is kept, and times never go
//! back.
//!
//! libfaketime runs between the server and the clock. It changes the wall clock but not the monotonic clock.

use std::path::Path;

use parley_proto::subscribe_request::Start;

use crate::support::{
    api_fixture::outgoing,
    app::TestApp,
    database::{Backend, Database},
    in_time, on_both,
    reader::{Reader, event, everything, log_info, whole_log},
    server::limited,
};

on_both!(clock_that_jumps_ahead_removes_nothing);

/// Sets the offset of the server's clock, such as `+365d`.
fn set(clock: &Path, offset: &str) {
    // Replace the file atomically: the server reads it on every query of the clock.
    let next = clock.with_extension("next");
    std::fs::write(&next, offset).expect("it can be written");
    std::fs::rename(next, clock).expect("it can be moved");
}

async fn clock_that_jumps_ahead_removes_nothing(backend: Backend) {
    let home = tempfile::tempdir().expect("a folder");
    let clock = home.path().join("clock");
    set(&clock, "+0");
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
        .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .program(limited(
            "LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1); export LD_PRELOAD",
        ))
        .start()
        .await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let request = fixture.request(conversation, outgoing("before"));
    let messages = fixture.clients.messages.clone();
    let first = messages
        .clone()
        .create_message(request.clone())
        .await
        .expect("it is stored")
        .into_inner();
    let mut stream = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;

    set(&clock, "+365d");
    fixture.say(conversation, "ahead").await;
    stream.until(log_info(&app.clients(), 1).await.head_seq).await;
    // The server checks every second whether there is something to trim.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(log_info(&app.clients(), 1).await.earliest_seq, 1);
    in_time("a line of the log", async {
        while !app.server.log().contains("the clock jumped ahead") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    let again = messages.clone().create_message(request).await.expect("it was stored").into_inner();
    assert_eq!(again, first, "the answer to a request is kept");

    set(&clock, "+0");
    fixture.say(conversation, "back").await;
    stream.until(log_info(&app.clients(), 1).await.head_seq).await;
    let log = whole_log(&app.clients(), 1).await;
    let times: Vec<_> = log
        .iter()
        .map(|delivery| event(delivery).occurred_at.expect("it has a time"))
        .collect();
    assert!(times.is_sorted_by_key(|time| (time.seconds, time.nanos)), "{times:?}");

    // Events that are really old are still trimmed.
    let day = 86_400_000_000_i64;
    let sql = format!(
        "UPDATE events SET occurred_at = occurred_at - {} WHERE account_id = 1 AND seq <= 3",
        400 * day
    );
    Database::run(&app.database, &sql).await;
    in_time("trimming", async {
        while log_info(&app.clients(), 1).await.earliest_seq == 1 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}
