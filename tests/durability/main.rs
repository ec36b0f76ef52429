//! The kill test: writers and subscribers run at full speed while the server is killed, and afterwards every promise of the contract is
//! checked against the recorded history.

// A failed `expect` is how a test reports that it cannot continue.
#![allow(clippy::expect_used)]
// A test creates its future once, and the futures that start servers are large.
#![allow(clippy::large_futures)]

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)] // used by the other test program
mod support;

mod archive;
mod edge;
mod fault;
mod full;
mod herd;
mod history;
mod namespace;
mod partition;
mod populated;
mod proxy;
mod release;
mod replicated;
mod report;
mod siege;
mod slices;
mod traffic;
mod unprotected;
mod upgrade;
mod validators;
mod workers;

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::Mutex;

use crate::{
    fault::Faults,
    history::History,
    release::Release,
    replicated::Plan,
    support::{
        app::{Builder, TestApp},
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
    },
    traffic::{Load, Traffic},
};

/// The default duration of the traffic of one test.
const IN_CI: Duration = Duration::from_secs(14);

/// The duration of the traffic of one test.
fn duration() -> Duration {
    let seconds: Option<u64> = std::env::var("PARLEY_DURABILITY_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(IN_CI, |seconds| Duration::from_secs(seconds / 5))
}

fn seed() -> u64 {
    let seed = std::env::var("PARLEY_DURABILITY_SEED").ok().and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| rand::rng().random())
}

/// Tests run one at a time: each needs the whole machine.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kills_on_sqlite() {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    assert_none(&Box::pin(killed_on_sqlite(&mut choices, None)).await, "SQLite, server killed", seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kills_on_postgres() {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    let history = Box::pin(killed_on_postgres(&mut choices)).await;
    assert_none(&history, "PostgreSQL, server killed, database crashed", seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_keep_one_order() {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    assert_none(&Box::pin(replicas(&mut choices, None)).await, "two replicas", seed);
}

/// The previous release and this version serve side by side during a rolling restart under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the release before: ./test upgrade REVISION"]
async fn upgrade_loses_nothing() {
    let _alone = ALONE.lock().await;
    let previous = std::env::var("TEST_PREVIOUS_BINARY").expect("TEST_PREVIOUS_BINARY names the program of the release before");
    let (seed, mut choices) = choices();
    assert_none(
        &Box::pin(upgrade::rolling(&previous, &Release::previous().limits_off(), &mut choices)).await,
        "from the release before to this one",
        seed,
    );
}

/// This version migrates and serves data of the last release, and that release serves the data again after this version wrote to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the release before: ./test upgrade REVISION"]
async fn upgrade_serves_previously_stored_data() {
    let _alone = ALONE.lock().await;
    let previous = std::env::var("TEST_PREVIOUS_BINARY").expect("TEST_PREVIOUS_BINARY names the program of the release before");
    for backend in [Backend::Sqlite, Backend::Postgres] {
        Box::pin(populated::is_served(&previous, &Release::previous(), backend)).await;
    }
}

/// Recorded databases of every release are migrated and served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_databases_of_every_release_are_served() {
    let _alone = ALONE.lock().await;
    for release in Release::all() {
        for backend in [Backend::Sqlite, Backend::Postgres] {
            report::say(&format!("a database of {}, {backend:?}", release.name()));
            Box::pin(populated::recorded_is_served(&release, backend)).await;
        }
    }
}

/// Every attack that needs no credentials, one after another and then all together, while ordinary clients are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "attacks a server for as long as PARLEY_SIEGE_SECONDS says: ./test nightly"]
async fn siege_does_not_disturb_ordinary_clients() {
    let _alone = ALONE.lock().await;
    Box::pin(siege::withstand()).await;
}

/// The largest accepted requests block neither a writer shard nor a runtime worker for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build that measures itself: ./test nightly"]
async fn slices_of_work_stay_short() {
    let _alone = ALONE.lock().await;
    Box::pin(slices::stay_short()).await;
}

/// Three replicas are drained and replaced one after another, as in a rolling deployment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_loses_nothing() {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    let history = Box::pin(upgrade::rolling(
        env!("CARGO_BIN_EXE_parley"),
        &Release::previous().limits_off(),
        &mut choices,
    ))
    .await;
    assert_none(&history, "three replicas, rolling restart", seed);
}

/// Every kind of fault in sequence, on three replicas and their database, with writers, subscribers and durable consumers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_sequence_loses_nothing() {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    let history = Box::pin(replicated::under_faults(&mut choices, Plan::lasting(duration()))).await;
    assert_none(&history, "three replicas, every fault", seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_partition_loses_nothing() {
    let _alone = ALONE.lock().await;
    let inside = tokio::task::spawn_blocking(|| namespace::runs_inside("network_partition_loses_nothing", "--net"));
    if inside.await.expect("no panic") {
        return;
    }
    let (seed, mut choices) = choices();
    let history = Box::pin(partition::pulled(&mut choices, duration())).await;
    assert_none(&history, "three replicas, cables pulled", seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_clients_reconnect_at_once() {
    let _alone = ALONE.lock().await;
    Box::pin(herd::comes_back(Backend::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_readers_take_bounded_memory() {
    let _alone = ALONE.lock().await;
    Box::pin(herd::stops_reading(Backend::Sqlite, None)).await;
}

/// So few events are kept that trimming overtakes readers and a suspended replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_overtaken_by_trimming_are_refused() {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    let history = Box::pin(edge::overtaken(&mut choices, duration() / 2)).await;
    assert_none(&history, "two replicas, few events kept", seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_under_traffic_loses_nothing() {
    let _alone = ALONE.lock().await;
    let inside = tokio::task::spawn_blocking(|| namespace::runs_inside("full_disk_under_traffic_loses_nothing", "--mount"));
    if inside.await.expect("no panic") {
        return;
    }
    let (seed, mut choices) = choices();
    let history = Box::pin(full::filled(&mut choices, duration() / 2)).await;
    assert_none(&history, "SQLite, disk full", seed);
}

/// The choices of a run. Prints the seed first, so that it is known if the run fails.
fn choices() -> (u64, StdRng) {
    let seed = seed();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    report::say(&format!("{test}: PARLEY_DURABILITY_SEED={seed}"));
    (seed, StdRng::seed_from_u64(seed))
}

fn assert_none(history: &History, name: &str, seed: u64) {
    let problems = history.problems();
    history.report(name, seed, &problems);
    assert!(
        problems.is_empty(),
        "{name}: {} problems with PARLEY_DURABILITY_SEED={seed}, see above",
        problems.len()
    );
}

/// A server whose trimming job runs every second, with one protection turned off if `without` names it.
fn served(backend: Backend, without: Option<&str>) -> Builder {
    let builder = TestApp::builder(backend).env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1").platform();
    match without {
        Some(switch) => builder.env("PARLEY_FAULT_SWITCH", switch),
        None => builder,
    }
}

async fn killed_on_sqlite(choices: &mut StdRng, without: Option<&str>) -> History {
    let mut app = served(Backend::Sqlite, without).start().await;
    let url = app.database.url();
    let traffic = Traffic::start(vec![app.server.listeners.clone()], url, Load::full(), choices).await;
    let faults = Faults::spread(choices, duration(), 4);
    for pause in faults.pauses {
        tokio::time::sleep(pause).await;
        app.server.kill();
        app.start_again().await;
        traffic.moved(0, &app.server.listeners);
    }
    traffic.finish(without.is_none()).await
}

async fn killed_on_postgres(choices: &mut StdRng) -> History {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::Full))
        .await
        .expect("it starts");
    execute(&cluster.url("postgres"), "CREATE DATABASE parley").await;
    let database = Database::at(cluster.url("parley"));
    let url = database.url();
    let mut app = served(Backend::Postgres, None).database(database).start().await;
    let traffic = Traffic::start(vec![app.server.listeners.clone()], url, Load::full(), choices).await;
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
            traffic.moved(0, &app.server.listeners);
        }
    }
    let history = traffic.finish(true).await;
    drop(app);
    history
}

async fn replicas(choices: &mut StdRng, without: Option<&str>) -> History {
    let app = served(Backend::Postgres, without).replicas(1).start().await;
    let listeners = vec![app.server.listeners.clone(), app.replicas[0].listeners.clone()];
    let traffic = Traffic::start(listeners, app.database.url(), Load::full(), choices).await;
    tokio::time::sleep(duration().mul_f64(choices.random_range(0.4..0.6))).await;
    traffic.finish(without.is_none()).await
}
