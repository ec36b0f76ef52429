//! From the release before to this one, while everybody goes on: three replicas are replaced one after another on one database.
//!
//! The program of the release before is named by `TEST_PREVIOUS_BINARY`, its revision by `TEST_PREVIOUS_REVISION`; `./test upgrade REVISION` builds
//! it and comes here.

use std::time::Duration;

use rand::rngs::StdRng;

use crate::{
    history::History,
    proxy::Proxy,
    support::{
        app::TestApp,
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
        server::{Doors, program_at},
    },
    traffic::{Load, Traffic},
};

/// Replicas.
const SERVERS: usize = 3;

/// How long each step lasts under traffic.
const STEP: Duration = Duration::from_secs(4);

/// Runs traffic while replicas of an earlier program, which knows these limits, are replaced by this one; returns what clients and readers saw.
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
        // Clients keep their address while what is behind it changes, as with a service of Kubernetes.
        let grpc = Proxy::before(&app.server.doors.grpc).await;
        let http = Proxy::before(&app.server.doors.http).await;
        replicas.push((app, grpc, http));
    }
    let doors = replicas.iter().map(|(_, grpc, http)| Doors {
        grpc: grpc.address.clone(),
        http: http.address.clone(),
        ..Doors::default()
    });
    let traffic = Traffic::start(doors.collect(), cluster.url("parley"), Load::full(), choices).await;
    tokio::time::sleep(STEP).await;
    for (app, grpc, http) in &mut replicas {
        // As a pod ends and another one comes. The first one migrates while the others serve.
        app.server.terminate();
        app.server.wait().await;
        app.start_again().await;
        grpc.lead_to(&app.server.doors.grpc);
        http.lead_to(&app.server.doors.http);
        tokio::time::sleep(STEP).await;
    }
    traffic.finish(true).await
}
