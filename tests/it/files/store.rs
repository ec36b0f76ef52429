//! Files in a store that speaks S3: the same behaviour, and what happens while the store is away.
//!
//! moto stands for the store; it speaks S3 over HTTP, with uploads in parts. `./test` installs it.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use tonic::Code;
use tonic_types::StatusExt as _;

use super::{calls, ends, place::Place, try_upload, upload};
use crate::support::{
    app::TestApp,
    database::Backend,
    http::client,
    in_time,
    server::{program, run_to_end},
};

/// A store as a process.
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

    /// On a port that is free now.
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
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
async fn in_a_store_files_go_in_and_out() {
    let store = Store::anywhere().await;
    let app = store.server("400000000").await;
    Box::pin(calls::goes_in_and_out(&app)).await;
    // A picture, its small one, and a text.
    assert_eq!(store.place().objects().await, 3);
    ends::stays_out_of_memory(&app).await;
}

#[tokio::test]
#[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
async fn in_a_store_nothing_is_left() {
    let store = Store::anywhere().await;
    let app = store.server("10000000").await;
    Box::pin(ends::leaves_nothing(&app, &store.place())).await;
    Box::pin(ends::takes_its_files_along(&app, &store.place())).await;
}

#[tokio::test]
#[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
async fn in_a_store_that_is_away_files_wait() {
    let mut store = Store::anywhere().await;
    let app = store.server("10000000").await;
    upload(&app.clients(), "a.txt", b"before").await;
    store.end();
    let clients = app.clients();
    let refused = in_time("an answer", try_upload(&clients, 1, "b.txt", "", b"meanwhile"));
    let refused = refused.await.expect_err("there is no store");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
    // Messages need no store.
    let talk = app.scene().talk().await;
    app.scene().say(talk, "without a file").await;
    let mut doctor = program();
    doctor.arg("doctor").envs(store.settings());
    let told = in_time("the doctor", run_to_end(doctor)).await;
    assert!(told.output.contains("cannot be used, so uploads are refused"), "{}", told.output);

    let store = Store::start(store.port).await;
    upload(&app.clients(), "b.txt", b"afterwards").await;
    assert_eq!(store.place().objects().await, 1);
}
