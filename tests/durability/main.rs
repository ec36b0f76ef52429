//! The kill test: writers and subscribers at full speed, the server killed under them, and then every promise counted after.
//!
//! `PARLEY_DURABILITY_SECONDS` says how long the traffic of all tests lasts together, `PARLEY_DURABILITY_SEED` repeats the choices of a run.

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)] // the other test program uses the rest
mod support;

mod fault;
mod traffic;
mod validate;

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    fault::Faults,
    support::{
        app::TestApp,
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
    },
    traffic::{Load, Traffic},
    validate::{Evidence, Problem},
};

/// How long the traffic of one test lasts.
fn duration() -> Duration {
    let seconds = std::env::var("PARLEY_DURABILITY_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(80u64) / 4)
}

fn seed() -> u64 {
    let seed = std::env::var("PARLEY_DURABILITY_SEED").ok().and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| rand::rng().random())
}

/// One after the other: each wants the machine for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let seed = seed();
    println!("durability: PARLEY_DURABILITY_SEED={seed}");
    let mut choices = StdRng::seed_from_u64(seed);

    let evidence = killed_on_sqlite(&mut choices).await;
    evidence.report("SQLite, server killed");
    assert_eq!(evidence.problems(), [], "on SQLite, seed {seed}");

    let evidence = killed_on_postgres(&mut choices).await;
    evidence.report("PostgreSQL, server killed, database crashed");
    assert_eq!(evidence.problems(), [], "on PostgreSQL, seed {seed}");

    let evidence = replicas(&mut choices, false).await;
    evidence.report("two replicas, protected");
    assert_eq!(evidence.problems(), [], "with two replicas, seed {seed}");

    // The same traffic, and the same validator, without the lock of the counter row.
    let evidence = replicas(&mut choices, true).await;
    evidence.report("two replicas, counter_lock off");
    let problems = evidence.problems();
    let lost = problems
        .iter()
        .filter(|problem| matches!(problem, Problem::Hole(_) | Problem::Missed(_)));
    assert!(
        lost.count() > 0,
        "without the counter's lock the validator must find holes or missed events, seed {seed}: {problems:?}"
    );
}

async fn killed_on_sqlite(choices: &mut StdRng) -> Evidence {
    let mut app = TestApp::start(Backend::Sqlite).await;
    let traffic = Traffic::start(vec![app.server.doors.grpc.clone()], Load::full()).await;
    let faults = Faults::spread(choices, duration(), 4);
    for pause in faults.pauses {
        tokio::time::sleep(pause).await;
        app.server.kill();
        app.start_again().await;
        traffic.moved(0, &app.server.doors.grpc);
    }
    traffic.finish(true).await
}

async fn killed_on_postgres(choices: &mut StdRng) -> Evidence {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::Full))
        .await
        .expect("it starts");
    execute(&cluster.url("postgres"), "CREATE DATABASE parley").await;
    let database = Database::at(cluster.url("parley"));
    let mut app = TestApp::builder(Backend::Postgres).database(database).start().await;
    let traffic = Traffic::start(vec![app.server.doors.grpc.clone()], Load::full()).await;
    let faults = Faults::spread(choices, duration(), 4);
    for (index, pause) in faults.pauses.into_iter().enumerate() {
        tokio::time::sleep(pause).await;
        if index == faults.database_crash {
            cluster = tokio::task::spawn_blocking(move || {
                cluster.crash();
                cluster.start_again();
                cluster
            })
            .await
            .expect("it starts again");
        } else {
            app.server.kill();
            app.start_again().await;
            traffic.moved(0, &app.server.doors.grpc);
        }
    }
    let evidence = traffic.finish(true).await;
    drop(app);
    evidence
}

async fn replicas(choices: &mut StdRng, unprotected: bool) -> Evidence {
    let mut builder = TestApp::builder(Backend::Postgres).replicas(1);
    if unprotected {
        builder = builder.env("PARLEY_FAULT_SWITCH", "counter_lock");
    }
    let app = builder.start().await;
    let addresses = vec![app.server.doors.grpc.clone(), app.replicas[0].doors.grpc.clone()];
    let traffic = Traffic::start(addresses, Load::full()).await;
    tokio::time::sleep(duration().mul_f64(choices.random_range(0.4..0.6))).await;
    traffic.finish(!unprotected).await
}
