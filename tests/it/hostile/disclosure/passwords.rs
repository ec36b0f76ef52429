//! Passwords in URLs: of the database, NATS, the blob store, the mail server and the collector. The program never prints, logs or exports
//! them, whether the URL is valid, invalid, or unreachable.

use std::path::Path;

use futures_util::future::join_all;

use crate::support::{
    api_fixture::incoming,
    app::TestApp,
    database::Backend,
    in_time,
    nats::Nats,
    server::{program, run_to_end},
};

/// A password, and its encoding in a URL.
const PASSWORD: &str = "pass/word@of the+address";
const ENCODED: &str = "pass%2Fword%40of%20the%2Baddress";
/// A password that needs no encoding, which is easier to leak by mistake.
const PLAIN: &str = "plain-password-of-the-address";

#[track_caller]
fn assert_hidden(place: &str, text: &str) {
    for secret in [PASSWORD, ENCODED, PLAIN] {
        assert!(!text.contains(secret), "a password is shown by {place}:\n{text}");
    }
}

/// The environment variable of a URL, with unreachable and invalid URLs.
const ADDRESSES: &[(&str, &[&str])] = &[
    (
        "PARLEY_DATABASE_URL",
        &[
            "postgres://ana:{}@127.0.0.1:1/parley",
            "postgres://127.0.0.1:1/parley?user=ana&password={}",
            "postgres://ana:{}@nowhere.invalid/parley",
            "postgres://ana:{}@127.0.0.1:port/parley",
            "postgres://ana:{}@[::1/parley",
            "mysql://ana:{}@127.0.0.1/parley",
        ],
    ),
    (
        "PARLEY_NATS_URL",
        &[
            "nats://ana:{}@127.0.0.1:1",
            "nats://{}@127.0.0.1:1",
            "nats://ana:{}@nowhere.invalid",
            "nats://ana:{}@127.0.0.1:port",
            "nats://ana:{}@[::1",
            "ftp://ana:{}@127.0.0.1",
        ],
    ),
    (
        "PARLEY_FILES_URL",
        &[
            "s3://AKIA:{}@files/prefix",
            "s3://files/prefix?secret={}",
            "ftp://ana:{}@127.0.0.1/files",
            "{}",
        ],
    ),
    (
        "PARLEY_MAIL_URL",
        &[
            "smtp://ana:{}@127.0.0.1:1",
            "smtps://ana:{}@nowhere.invalid",
            "smtp://ana:{}@127.0.0.1:port",
            "smtp://ana:{}@127.0.0.1?tls=never",
            "smtp://ana:{}@[::1",
            "ftp://ana:{}@127.0.0.1",
        ],
    ),
    (
        "PARLEY_TRACE_OTLP_ENDPOINT",
        &[
            "http://ana:{}@127.0.0.1:1",
            "https://ana:{}@nowhere.invalid",
            "ftp://ana:{}@127.0.0.1",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn url_passwords_are_not_shown_by_doctor_or_start() {
    join_all(ADDRESSES.iter().map(|(variable, addresses)| async move {
        let home = tempfile::tempdir().expect("a folder");
        let encoded = addresses.first().map(|address| address.replace("{}", ENCODED));
        for address in addresses.iter().map(|address| address.replace("{}", PLAIN)).chain(encoded) {
            for command in ["doctor", "serve"] {
                assert_hidden(
                    &format!("{command} with {variable}"),
                    &run(command, home.path(), variable, &address).await,
                );
            }
        }
    }))
    .await;
}

/// The output of a command that exits by itself: `serve` cannot open its listeners at this address.
async fn run(command: &str, home: &Path, variable: &str, address: &str) -> String {
    let (filter, listen) = if command == "serve" {
        ("trace", "192.0.2.1:1")
    } else {
        ("info", "127.0.0.1:0")
    };
    let mut run = program();
    run.arg(command)
        .current_dir(home)
        .env("PARLEY_LOG_FILTER", filter)
        .env("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "1")
        .env(variable, address);
    for listener in ["GRPC", "HTTP", "ADMIN"] {
        run.env(format!("PARLEY_{listener}_ADDR"), listen);
    }
    let ended = run_to_end(run).await;
    assert_ne!(ended.output, "", "{variable} {command}");
    ended.output
}

/// The same for what a running server logs about URLs that it keeps trying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn url_passwords_are_not_logged_while_connecting() {
    let mut nats = Nats::start_for("ana", PASSWORD).await;
    let with_password = nats.url().replace("nats://", &format!("nats://ana:{ENCODED}@"));
    // NATS accepts no other credentials.
    let home = tempfile::tempdir().expect("a folder");
    let told = run("doctor", home.path(), "PARLEY_NATS_URL", &with_password).await;
    assert!(told.contains("it responds, and has JetStream"), "{told}");
    assert_hidden("the doctor", &told);
    let mut app = TestApp::builder(Backend::Postgres)
        .env("PARLEY_LOG_FILTER", "trace,h2=info,hyper=info,tower=info")
        .env("PARLEY_NATS_URL", &with_password)
        .env("PARLEY_MAIL_URL", &format!("smtp://ana:{ENCODED}@127.0.0.1:1"))
        .start()
        .await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    fixture.sent(talk, incoming("hello")).await;
    let transcript = format!("/conversations/{talk}/transcript");
    let body = serde_json::json!({"email": "ana@example.org"});
    let (status, answer) = app.http().try_post(&transcript, &body).await;
    assert_eq!(status, 200, "{answer}");
    nats.kill();
    in_time("the mail", async {
        while !app.server.log().contains("failed to send an email (temporary failure)") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    app.server.terminate();
    assert!(app.server.wait().await.success());
    assert_hidden("the log", &app.server.log());
}
