//! A rolling upgrade from the previous release under traffic: three replicas are replaced one after another on one database.
//!
//! `TEST_PREVIOUS_BINARY` names the program of the previous release and `TEST_PREVIOUS_REVISION` its revision; `./test upgrade REVISION`
//! builds it and runs this test.

use std::time::Duration;

use rand::rngs::StdRng;

use crate::{
    history::History,
    proxy::Proxy,
    support::{
        app::TestApp,
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
        server::{ListenerAddresses, program_at},
    },
    traffic::{Load, Traffic},
};

/// The number of replicas.
const SERVERS: usize = 3;

/// The duration of traffic in each step.
const STEP: Duration = Duration::from_secs(4);

/// Runs traffic while replicas of an earlier program are replaced by this one. `limits` are the limits that the earlier program knows and
/// that are turned off. Returns the recorded history.
pub async fn rolling(previous: &str, limits: &[String], choices: &mut StdRng) -> History {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::Full))
        .await
        .expect("it starts");
    execute(&cluster.url("postgres"), "CREATE DATABASE parley").await;
    let mut replicas = Vec::new();
    for _ in 0..SERVERS {
        let app = TestApp::builder(Backend::Postgres)
            .database(Database::at(cluster.url("parley")))
            .previous(program_at(previous), limits.to_vec())
            .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
            .platform()
            .start()
            .await;
        // Clients keep their address while the server behind it changes, as with a Kubernetes Service.
        let grpc = Proxy::before(&app.server.listeners.grpc).await;
        let http = Proxy::before(&app.server.listeners.http).await;
        replicas.push((app, grpc, http));
    }
    let listeners = replicas.iter().map(|(_, grpc, http)| ListenerAddresses {
        grpc: grpc.address.clone(),
        http: http.address.clone(),
        ..ListenerAddresses::default()
    });
    let traffic = Traffic::start(listeners.collect(), cluster.url("parley"), Load::full(), choices).await;
    tokio::time::sleep(STEP).await;
    for (app, grpc, http) in &mut replicas {
        // As when a pod is replaced. The first new replica migrates while the others serve.
        app.server.terminate();
        app.server.wait().await;
        app.start_again().await;
        grpc.lead_to(&app.server.listeners.grpc);
        http.lead_to(&app.server.listeners.http);
        tokio::time::sleep(STEP).await;
    }
    traffic.finish(true).await
}
