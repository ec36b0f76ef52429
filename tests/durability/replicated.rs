//! Three replicas on one PostgreSQL and one NATS, a proxy on every line, and one fault after another.

use std::{io::Write as _, time::Duration};

use rand::{Rng as _, rngs::StdRng};

use crate::{
    fault::{Fault, stand_still},
    proxy::{Line, Proxy},
    support::{
        app::TestApp,
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
        nats::Nats,
    },
    traffic::{Load, Traffic},
    validate::Evidence,
    workers::Workers,
};

/// Replicas.
const SERVERS: usize = 3;

/// How long all may take to come to rest.
const REST: Duration = Duration::from_secs(90);

/// A replica with the lines that lead to it and from it.
struct Replica {
    app: TestApp,
    clients: Proxy,
    database: Proxy,
}

impl Replica {
    async fn start(cluster: &Cluster, nats: &Nats) -> Self {
        let url = cluster.url("parley");
        let (head, rest) = url.split_once('@').expect("a user");
        let (place, name) = rest.split_once('/').expect("a database");
        let database = Proxy::before(place).await;
        let through = Database::at(format!("{head}@{}/{name}", database.address));
        let app = TestApp::builder(Backend::Postgres)
            .database(through)
            .env("PARLEY_NATS_URL", &nats.url())
            .env("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "5")
            .start()
            .await;
        let clients = Proxy::before(&app.server.doors.grpc).await;
        Self { app, clients, database }
    }

    async fn again(&mut self) {
        self.app.start_again().await;
        self.clients.lead_to(&self.app.server.doors.grpc);
    }
}

/// Runs traffic for about this time under a sequence of faults, and hands over what everybody saw.
pub async fn under_faults(choices: &mut StdRng, time: Duration) -> Evidence {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::Full))
        .await
        .expect("it starts");
    execute(&cluster.url("postgres"), "CREATE DATABASE parley").await;
    let mut nats = Nats::start().await;
    let mut replicas = Vec::new();
    for _ in 0..SERVERS {
        replicas.push(Replica::start(&cluster, &nats).await);
    }
    let addresses: Vec<String> = replicas.iter().map(|replica| replica.clients.address.clone()).collect();
    let traffic = Traffic::start(addresses.clone(), Load::full()).await;
    let workers = Workers::start(&addresses, choices);
    let count = usize::try_from(time.as_secs() / 2).expect("a few").max(11);
    let sequence = Fault::sequence(choices, SERVERS, count);
    say(&format!("{sequence:?}"));
    let mut cluster = Some(cluster);
    for fault in sequence {
        let lasts = Duration::from_millis(choices.random_range(300..2500));
        strike(fault, lasts, &mut replicas, &mut cluster, &mut nats).await;
        tokio::time::sleep(Duration::from_millis(choices.random_range(200..1200))).await;
    }
    let mut evidence = traffic.finish(true).await;
    say(&workers.finish(&mut evidence, REST).await);
    drop(replicas);
    evidence
}

fn say(text: &str) {
    // Not by `println!`, which the test program keeps to itself while tests hold.
    let _ = std::io::stderr().write_all(format!("durability:   {text}\n").as_bytes());
}

async fn strike(fault: Fault, lasts: Duration, replicas: &mut [Replica], cluster: &mut Option<Cluster>, nats: &mut Nats) {
    match fault {
        Fault::Kill(server) => {
            replicas[server].app.server.kill();
            replicas[server].again().await;
        }
        Fault::Stop(server) => stand_still(&replicas[server].app.server, lasts).await,
        Fault::Restart(server) => {
            replicas[server].app.server.terminate();
            replicas[server].app.server.wait().await;
            replicas[server].again().await;
        }
        Fault::DatabaseCrash => {
            let mut broken = cluster.take().expect("it runs");
            let again = tokio::task::spawn_blocking(move || {
                broken.crash();
                broken.start_again();
                broken
            });
            *cluster = Some(again.await.expect("it starts again"));
        }
        Fault::DatabaseStop => {
            let still = |still| cluster.as_ref().expect("it runs").stand_still(still);
            still(true);
            tokio::time::sleep(lasts).await;
            still(false);
        }
        Fault::Cut(server) => replicas[server].clients.cut(),
        Fault::Stall(server) => during(&replicas[server].clients, Line::Stalled, lasts).await,
        Fault::Slow(server) => during(&replicas[server].clients, Line::Slow, lasts).await,
        Fault::Partition(server) => during(&replicas[server].database, Line::Stalled, lasts).await,
        Fault::NatsKill => {
            nats.kill();
            tokio::time::sleep(lasts).await;
            nats.start_again().await;
        }
        Fault::CutDatabase(server) => replicas[server].database.cut(),
    }
}

async fn during(proxy: &Proxy, line: Line, time: Duration) {
    proxy.set(line);
    tokio::time::sleep(time).await;
    proxy.set(Line::Open);
}
