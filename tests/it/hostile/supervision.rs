//! Every task has an owner that notices its end: the process exits with an error, or the task is restarted. A panic in a write fails only
//! that write.

use futures_util::future::join_all;
use tonic::Code;

use crate::support::{
    api_fixture::{ApiFixture, incoming, outgoing},
    app::{Builder, TestApp},
    authority::Authority,
    database::Backend,
    fault::assert_refused,
    in_time,
    nats::Nats,
    on_both,
};

on_both!(dead_writer_shard_ends_the_process, panic_fails_only_one_write);

async fn panicking(backend: Backend, place: &str) -> TestApp {
    start(TestApp::builder(backend), place).await
}

async fn start(builder: Builder, place: &str) -> TestApp {
    builder.env("PARLEY_FAULT_SWITCH", &format!("panic:{place}")).start().await
}

/// Waits for the first server to exit, which must be an error that names the task.
async fn assert_exits(app: &mut TestApp, place: &str) {
    let status = app.server.wait().await;
    let log = app.server.log();
    assert!(!status.success(), "{place}: {status}");
    assert!(
        log.contains("an essential task ended unexpectedly") && log.contains(place),
        "{place}: {log}"
    );
}

async fn dead_writer_shard_ends_the_process(backend: Backend) {
    let mut app = panicking(backend, "writer shard").await;
    assert_exits(&mut app, "writer shard").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_a_task_ends_the_process() {
    let places = [
        "gRPC listener",
        "gRPC accept loop",
        "HTTP listener",
        "HTTP accept loop",
        "admin listener",
        "admin accept loop",
        "idle streams",
        "log follower",
        "readiness",
        "metrics of logs",
        "audit log",
    ];
    join_all(places.map(|place| async move {
        let mut app = panicking(Backend::Sqlite, place).await;
        assert_exits(&mut app, place).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_the_nats_task_ends_the_process() {
    let nats = Nats::start().await;
    let builder = TestApp::builder(Backend::Postgres).env("PARLEY_NATS_URL", &nats.url());
    let mut app = start(builder, "relay").await;
    assert_exits(&mut app, "relay").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_the_certificate_watcher_ends_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = Authority::new().sign("parley.test");
    let mut builder = TestApp::builder(Backend::Sqlite).env("PARLEY_TLS_LISTENERS", "grpc");
    for (variable, name, pem) in [
        ("PARLEY_TLS_CERT_FILE", "tls.crt", certificate),
        ("PARLEY_TLS_KEY_FILE", "tls.key", key),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("the folder is ours");
        builder = builder.env(variable, &path.display().to_string());
    }
    let mut app = start(builder, "TLS certificates").await;
    assert_exits(&mut app, "TLS certificates").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_jobs_are_restarted_after_a_panic() {
    let places = [
        "unsnooze",
        "idempotency keys",
        "audit trimming",
        "trimming",
        "files",
        "deleted accounts",
        "search index",
        "mail",
    ];
    join_all(places.map(|place| async move {
        // Nothing listens at this address, so no email is sent.
        let builder = TestApp::builder(Backend::Sqlite).env("PARLEY_MAIL_URL", "smtp://127.0.0.1:1");
        let mut app = start(builder, place).await;
        in_time("the restart", async {
            while !app.server.log().contains("a background job panicked; restarting it") {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(app.server.log().contains(place), "{place}");
        let fixture = app.fixture();
        let conversation = fixture.talk().await;
        fixture.say(conversation, "still here").await;
        app.restart().await;
    }))
    .await;
}

async fn panic_fails_only_one_write(backend: Backend) {
    let app = panicking(backend, "plan").await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    scene_survives(&fixture, conversation).await;
    let app = panicking(backend, "verb").await;
    let request = parley_proto::CreateContactRequest {
        account_id: 1,
        name: "Asha".to_owned(),
        ..Default::default()
    };
    let refused = app.clients().contacts.create_contact(request).await;
    assert_refused(refused, Code::Internal, "INTERNAL");
    // The transaction was rolled back, and the writer shard continues.
    let person = app.fixture().person("Asha Rao").await;
    assert_eq!(person.contact, 1);
    let conversation = app.fixture().conversation(&person).await.id;
    app.fixture().say(conversation, "still here").await;
}

async fn scene_survives(fixture: &ApiFixture, conversation: i64) {
    assert_refused(fixture.send(conversation, incoming("one")).await, Code::Internal, "INTERNAL");
    assert_eq!(fixture.hear(conversation, "two").await.number, 1, "the failed message left nothing");
    assert_eq!(fixture.sent(conversation, outgoing("three")).await.0.number, 2);
}
