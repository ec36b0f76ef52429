//! Files in an S3-compatible store: the same behaviour, and an unavailable store.
//!
//! The store is moto, which serves S3 over HTTP with multipart uploads. `./test` installs it.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use tonic::Code;
use tonic_types::StatusExt as _;

use super::{calls, download, ends, place::Place, try_upload, upload, with_uploads};
use crate::support::{
    app::TestApp,
    database::{Backend, Database},
    http::client,
    in_time,
    server::{program, run_to_end},
};

/// A running store.
struct Store {
    process: Child,
    port: u16,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end();
    }
}

impl Store {
    async fn start(port: u16) -> Self {
        let interpreter = std::env::var("PARLEY_TEST_PYTHON").expect("PARLEY_TEST_PYTHON names an interpreter with moto");
        let mut server = Command::new(interpreter);
        server.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port.to_string()]);
        let process = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("moto starts");
        let store = Self { process, port };
        let bucket = format!("{}/files", store.url());
        in_time("the store", async {
            while client().put(&bucket).send().await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        store
    }

    /// Starts a store on a free port.
    async fn anywhere() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        Self::start(port).await
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn place(&self) -> Place {
        Place::Bucket(format!("{}/files", self.url()))
    }

    fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("PARLEY_FILES_URL", "s3://files/of/parley".to_owned()),
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", "a-name".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "a-secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    async fn server(&self, max_bytes: &str) -> TestApp {
        let mut builder = TestApp::builder(Backend::Sqlite).env("PARLEY_FILES_MAX_BYTES", max_bytes);
        for (name, value) in self.settings() {
            builder = builder.env(name, &value);
        }
        builder.start().await
    }

    fn end(&mut self) {
        // The process may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
async fn s3_files_are_uploaded_and_downloaded() {
    let store = Store::anywhere().await;
    let app = store.server("400000000").await;
    Box::pin(calls::goes_in_and_out(&app)).await;
    // An image, its thumbnail, and a text file.
    assert_eq!(store.place().objects().await, 3);
    ends::stays_out_of_memory(&app).await;
}

#[tokio::test]
#[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
async fn s3_files_are_cleaned_up() {
    let store = Store::anywhere().await;
    let app = store.server("10000000").await;
    Box::pin(ends::leaves_nothing(&app, &store.place())).await;
    Box::pin(ends::takes_its_files_along(&app, &store.place())).await;
}

#[tokio::test]
#[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
async fn s3_outage_refuses_uploads_until_the_store_returns() {
    let mut store = Store::anywhere().await;
    let app = store.server("10000000").await;
    upload(&app.clients(), "a.txt", b"before").await;
    store.end();
    let clients = app.clients();
    let refused = in_time("an answer", try_upload(&clients, 1, "b.txt", "", b"meanwhile"));
    let refused = refused.await.expect_err("there is no store");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
    // Messages without files do not need the store.
    let talk = app.fixture().talk().await;
    app.fixture().say(talk, "without a file").await;
    let mut doctor = program();
    doctor.arg("doctor").envs(store.settings());
    let told = in_time("the doctor", run_to_end(doctor)).await;
    assert!(told.output.contains("cannot be used, so uploads are rejected"), "{}", told.output);

    let store = Store::start(store.port).await;
    upload(&app.clients(), "b.txt", b"afterwards").await;
    assert_eq!(store.place().objects().await, 1);
}

/// The settings of a command that stores its files under a prefix of the bucket.
fn below(store: &Store, prefix: &str, database: &Database) -> Vec<(&'static str, String)> {
    let mut settings = store.settings().to_vec();
    settings[0].1 = format!("s3://files/{prefix}");
    settings.push(("PARLEY_DATABASE_URL", database.url()));
    settings
}

/// Runs a command in a folder that nobody can write to, with files as its input and output.
async fn command(args: &[&str], settings: &[(&'static str, String)], input: Stdio, output: Stdio) -> (Option<i32>, String) {
    let mut command = program();
    command.args(args).envs(settings.iter().map(|(name, value)| (name, value)));
    command.current_dir("/proc").stdin(input).stdout(output).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = in_time("the end of the command", ended).await.expect("no panic").expect("it ran");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

/// As in a container with a read-only root: from one bucket and database to another, through a pipe.
#[tokio::test]
#[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
async fn s3_files_are_backed_up_and_restored_through_a_pipe() {
    let mut store = Store::anywhere().await;
    let mut builder = TestApp::builder(Backend::Postgres);
    for (name, value) in store.settings() {
        builder = builder.env(name, &value);
    }
    let app = builder.start().await;
    let (fixture, content) = (app.fixture(), vec![7; 6_000_000]);
    let talk = fixture.talk().await;
    let mut links = Vec::new();
    for content in [content.as_slice(), b"small"] {
        let file = upload(&app.clients(), "a.bin", content).await;
        let sent = fixture.send(talk, with_uploads(&[&file.upload_id])).await.expect("a message");
        links.push(sent.message.expect("always set").attachments[0].data_url.clone());
    }
    let (from, restored) = (below(&store, "of/parley", &app.database), Database::create(Backend::Postgres).await);
    let to = below(&store, "restored", &restored);

    // A truncated archive leaves nothing in the bucket.
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("backup.tar");
    let output = std::fs::File::create(&archive).expect("there is room");
    let (code, said) = command(&["backup", "-"], &from, Stdio::null(), output.into()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 files"), "{said}");
    let whole = std::fs::read(&archive).expect("ours");
    let broken = folder.path().join("broken.tar");
    std::fs::write(&broken, &whole[..whole.len() - 2048]).expect("there is room");
    let input = std::fs::File::open(&broken).expect("ours");
    let (code, said) = command(&["restore", "-"], &to, input.into(), Stdio::null()).await;
    assert_ne!(code, Some(0), "{said}");
    assert_eq!(store.place().objects().await, 2, "{said}");

    // Backup and restore at the same time.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let (written, read) = tokio::join!(
        command(&["backup", "-"], &from, Stdio::null(), writer.into()),
        command(&["restore", "-"], &to, reader.into(), Stdio::null())
    );
    assert_eq!((written.0, read.0), (Some(0), Some(0)), "{} {}", written.1, read.1);
    assert_eq!(store.place().objects().await, 4);
    let mut builder = TestApp::builder(Backend::Postgres).database(restored);
    for (name, value) in to {
        builder = builder.env(name, &value);
    }
    let elsewhere = builder.start().await;
    for (link, content) in links.iter().zip([content.as_slice(), b"small"]) {
        let (_, bytes) = download(&elsewhere.clients(), link, 0, 0).await.expect("the file came along");
        assert!(bytes == content, "{} bytes", bytes.len());
    }
    // An unavailable store fails the backup, but is not reported as damaged files.
    store.end();
    let (code, said) = command(&["backup", "-"], &from, Stdio::null(), Stdio::null()).await;
    assert_ne!(code, Some(0), "{said}");
    assert!(!said.contains("damaged"), "{said}");
}
