//! Statement 19: if the history goes back, every reader learns about it.

use parley_proto::subscribe_request::Start;
use tonic::Code;

use crate::support::{
    app::TestApp,
    consumer::{Session, plenty},
    database::Backend,
    fault::fault,
    in_time, on_both,
    reader::{Reader, everything, log_info},
};

on_both!(
    statement_19_head_that_goes_back_changes_the_epoch,
    statement_23_replaced_event_changes_the_epoch,
    statement_19_restored_command_changes_the_epoch
);

async fn statement_19_head_that_goes_back_changes_the_epoch(backend: Backend) {
    if backend == Backend::Sqlite {
        // On SQLite a single process owns the file, so the log cannot go back while it runs; the command below covers it.
        return;
    }
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_POLL_INTERVAL_MILLISECONDS", "50")
        .start()
        .await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    for index in 0..5 {
        fixture.hear(talk, &format!("message {index}")).await;
    }
    let before = log_info(&app.clients(), 1).await;
    let mut reader = Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await;
    reader.until(before.head_seq).await;
    let mut session = Session::open(&app.clients(), plenty(1, "worker")).await;
    session.until(before.head_seq).await;

    // Simulates a failover to a standby that lagged behind.
    let lost = before.head_seq - 4;
    app.database
        .run(&format!(
            "UPDATE account_logs SET head_seq = {lost} WHERE account_id = 1; DELETE FROM events WHERE account_id = 1 AND seq > {lost}"
        ))
        .await;
    for status in [reader.until_the_end().await.1, session.end().await] {
        let told = fault(&status);
        assert_eq!((told.code, told.reason.as_str()), (Code::OutOfRange, "EPOCH_CHANGED"), "{status:?}");
        assert_eq!(told.metadata["head_seq"], lost.to_string());
        assert_ne!(told.metadata["epoch"], before.epoch);
    }
    let status = Reader::refusal(&app.clients(), everything(1, Start::After(before.head_cursor))).await;
    assert_eq!(fault(&status).reason, "EPOCH_CHANGED");
    let status = Session::try_open(&app.clients(), plenty(1, "worker"))
        .await
        .expect_err("its place is of the old history");
    assert_eq!(fault(&status).reason, "EPOCH_CHANGED");
    assert_ne!(log_info(&app.clients(), 1).await.epoch, before.epoch);
}

/// A failover to a standby that lagged behind, whose log has grown to the same head or further before a replica polls it.
async fn statement_23_replaced_event_changes_the_epoch(backend: Backend) {
    if backend == Backend::Sqlite {
        // On SQLite a single process owns the file, so events cannot be replaced while it runs.
        return;
    }
    for (is_on, switch) in [(true, ""), (false, "cursor_mark")] {
        let app = TestApp::builder(backend)
            .env("PARLEY_EVENTS_POLL_INTERVAL_MILLISECONDS", "50")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let fixture = app.fixture();
        let talk = fixture.talk().await;
        fixture.hear(talk, "seen").await;
        let before = log_info(&app.clients(), 1).await;
        let mut readers = Vec::new();
        // One reader received the event from the tail in memory, the other one started later.
        for _ in 0..2 {
            let mut reader = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;
            fixture.say(talk, "live").await;
            reader.next().await;
            readers.push(reader);
        }
        let head = log_info(&app.clients(), 1).await.head_seq;
        app.database
            .run(&format!(
                "UPDATE events SET payload = overlay(payload placing '0123456789ab'::bytea from 3) WHERE account_id = 1 AND seq = {head}"
            ))
            .await;
        if is_on {
            for reader in &mut readers {
                let (_, status) = reader.until_the_end().await;
                assert_eq!(fault(&status).reason, "EPOCH_CHANGED", "{status:?}");
            }
            assert_ne!(log_info(&app.clients(), 1).await.epoch, before.epoch);
        } else {
            // Streams continue across further polls: each bookmark follows one.
            for reader in &mut readers {
                reader.until_bookmark().await;
            }
            assert_eq!(log_info(&app.clients(), 1).await.epoch, before.epoch);
        }
    }
}

async fn statement_19_restored_command_changes_the_epoch(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    app.fixture().talk().await;
    let before = log_info(&app.clients(), 1).await;
    app.server.terminate();
    app.server.wait().await;
    let url = app.database.url();
    let command = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_parley"));
        command.args(["restored", "--database-url", &url]).output()
    });
    let output = in_time("the command", command).await.expect("it ends").expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("Started a new epoch in the logs of 1 account"),
        "{output:?}"
    );
    app.start_again().await;
    let status = Reader::refusal(&app.clients(), everything(1, Start::After(before.head_cursor))).await;
    assert_eq!(fault(&status).reason, "EPOCH_CHANGED");
    let after = log_info(&app.clients(), 1).await;
    assert_eq!(after.head_seq, before.head_seq);
    assert_ne!(after.epoch, before.epoch);
}
