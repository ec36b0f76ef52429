//! What the tests are built on: a real server process with its own database, and real clients.
//!
//! This module asserts no behaviour. A rule of the stream's contract that several tests check is in `chain`.

pub mod api_fixture;
pub mod app;
#[allow(dead_code)] // used only by the behaviour tests
pub mod authority;
pub mod chain;
pub mod clients;
#[path = "../../support/cluster.rs"]
#[allow(dead_code)] // the durability tests crash the cluster, the benchmarks run its programs
pub mod cluster;
pub mod consumer;
pub mod database;
pub mod description;
pub mod fault;
pub mod http;
pub mod link;
pub mod nats;
pub mod office;
pub mod raw;
pub mod reader;
pub mod server;
pub mod told;

use std::time::Duration;

/// How long a test waits for something that must happen. It prevents hanging; no test measures time with it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for `future`, and panics with `what` after [`PATIENCE`].
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

/// Runs an `async fn(Backend)` as one test per database: `on_both!(name)` defines `name::on_sqlite` and `name::on_postgres`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(crate::support::database::Backend::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(crate::support::database::Backend::Postgres).await;
            }
        }
    )+};
}
pub(crate) use on_both;
