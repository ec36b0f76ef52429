//! A client in another language, which has no generated code and finds the services by reflection.

use std::{path::Path, process::Command};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    server::run_to_end,
};

/// `./test` sets the interpreter after it has installed what the client needs.
const INTERPRETER: &str = "PARLEY_TEST_PYTHON";

async fn client(backend: Backend) {
    let app = TestApp::start(backend).await;
    let interpreter = std::env::var(INTERPRETER).expect("PARLEY_TEST_PYTHON names an interpreter with grpcio and grpcio-reflection");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/reflection_client.py");
    let mut command = Command::new(interpreter);
    command
        .arg(script)
        .arg(&app.server.doors.grpc)
        .env("PARLEY_TEST_TOKEN", ADMINISTRATOR);
    let ended = run_to_end(command).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

mod from_another_language {
    use super::{Backend, client};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
    async fn on_sqlite() {
        client(Backend::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
    async fn on_postgres() {
        client(Backend::Postgres).await;
    }
}
