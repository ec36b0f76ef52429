//! Clients in other languages: one without generated code, which discovers the services by reflection, and those that `docs/grpc.md`
//! describes.

use std::{path::Path, process::Command};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    server::run_to_end,
};

/// The Python interpreter, which `./test` sets after it has installed the client's dependencies.
const INTERPRETER: &str = "PARLEY_TEST_PYTHON";

/// The folder in which `./test` has installed the packages of grpc-js.
const NODE_MODULES: &str = "PARLEY_TEST_NODE_MODULES";

fn python() -> Command {
    Command::new(std::env::var(INTERPRETER).expect("PARLEY_TEST_PYTHON names an interpreter with grpcio and its tools"))
}

async fn client(backend: Backend) {
    run(backend, python(), "tests/python/reflection_client.py").await;
}

async fn run(backend: Backend, mut command: Command, script: &str) {
    let app = TestApp::start(backend).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    command
        .arg(script)
        .arg(&app.server.listeners.grpc)
        .env("PARLEY_TEST_TOKEN", ADMINISTRATOR);
    let ended = run_to_end(command).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

mod reflection_client_works {
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

mod generated_clients_work {
    use std::process::Command;

    use super::{Backend, NODE_MODULES, python, run};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "./test runs it, with PARLEY_TEST_PYTHON"]
    async fn by_grpcio() {
        run(Backend::Sqlite, python(), "tests/grpc/python_client.py").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "./test runs it, with PARLEY_TEST_NODE_MODULES"]
    async fn by_grpc_js() {
        assert!(
            std::env::var_os(NODE_MODULES).is_some(),
            "{NODE_MODULES} names the folder of grpc-js"
        );
        run(Backend::Sqlite, Command::new("node"), "tests/grpc/node_client.mjs").await;
    }
}
