//! Three replicas on one PostgreSQL and one NATS, a proxy on every line, and one fault after another.

use std::{io::Write as _, time::Duration};

use rand::{Rng as _, rngs::StdRng};

use crate::{
    fault::{Fault, stand_still},
    history::History,
    proxy::{Line, Proxy},
    support::{
        app::TestApp,
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
        nats::Nats,
        server::Doors,
    },
    traffic::{Load, REST, Traffic},
    workers::Workers,
};

/// Replicas.
const SERVERS: usize = 3;

/// A replica with the lines that lead to it and from it.
struct Replica {
    app: TestApp,
    clients: Proxy,
    http: Proxy,
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
            .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
            .platform()
            .start()
            .await;
        let clients = Proxy::before(&app.server.doors.grpc).await;
        let http = Proxy::before(&app.server.doors.http).await;
        Self {
            app,
            clients,
            http,
            database,
        }
    }

    /// Where clients find it, for good.
    fn doors(&self) -> Doors {
        Doors {
            grpc: self.clients.address.clone(),
            http: self.http.address.clone(),
            ..Doors::default()
        }
    }

    /// What its lines to clients do.
    fn set(&self, line: Line) {
        self.clients.set(line);
        self.http.set(line);
    }

    async fn again(&mut self) {
        self.app.start_again().await;
        self.clients.lead_to(&self.app.server.doors.grpc);
        self.http.lead_to(&self.app.server.doors.http);
    }
}

/// Runs traffic for about this time under a sequence of faults, and hands over what everybody saw.
pub async fn under_faults(choices: &mut StdRng, time: Duration) -> History {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::Full))
        .await
        .expect("it starts");
    execute(&cluster.url("postgres"), "CREATE DATABASE parley").await;
    let mut nats = Nats::start().await;
    let mut replicas = Vec::new();
    for _ in 0..SERVERS {
        replicas.push(Replica::start(&cluster, &nats).await);
    }
    let doors: Vec<Doors> = replicas.iter().map(Replica::doors).collect();
    let addresses: Vec<String> = doors.iter().map(|doors| doors.grpc.clone()).collect();
    let url = cluster.url("parley");
    let traffic = Traffic::start(doors, url, Load::full(), choices).await;
    let workers = Workers::start(&addresses, choices);
    let count = usize::try_from(time.as_secs() / 2).expect("a few").max(11);
    let sequence = Fault::sequence(choices, SERVERS, count);
    say(&format!("{sequence:?}"));
    let mut cluster = Some(cluster);
    for fault in sequence {
        let lasts = Duration::from_millis(choices.random_range(300..2500));
        if fault == Fault::Age {
            let cluster = cluster.as_ref().expect("it runs");
            age(
                &cluster.url("parley"),
                traffic.copied().saturating_sub(choices.random_range(0..500)),
            )
            .await;
        } else {
            strike(fault, lasts, &mut replicas, &mut cluster, &mut nats).await;
        }
        tokio::time::sleep(Duration::from_millis(choices.random_range(200..1200))).await;
    }
    let mut history = traffic.finish(true).await;
    say(&workers.finish(&mut history, REST).await);
    drop(replicas);
    history
}

/// Makes events of the busy account older than what is kept, so that they are trimmed under those who read them.
async fn age(url: &str, seq: u64) {
    const EIGHT_DAYS: i64 = 8 * 86_400_000_000;
    let recent = "SELECT max(occurred_at) - 86400000000 FROM events WHERE account_id = 1";
    execute(
        url,
        &format!(
            "UPDATE events SET occurred_at = occurred_at - {EIGHT_DAYS} WHERE account_id = 1 AND seq <= {seq} AND occurred_at > ({recent})"
        ),
    )
    .await;
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
        Fault::Cut(server) => {
            replicas[server].clients.cut();
            replicas[server].http.cut();
        }
        Fault::Stall(server) => during(&replicas[server], Line::Stalled, lasts).await,
        Fault::Slow(server) => during(&replicas[server], Line::Slow, lasts).await,
        Fault::Partition(server) => {
            replicas[server].database.set(Line::Stalled);
            tokio::time::sleep(lasts).await;
            replicas[server].database.set(Line::Open);
        }
        Fault::Age => unreachable!("it needs the traffic"),
        Fault::NatsKill => {
            nats.kill();
            tokio::time::sleep(lasts).await;
            nats.start_again().await;
        }
        Fault::CutDatabase(server) => replicas[server].database.cut(),
    }
}

async fn during(replica: &Replica, line: Line, time: Duration) {
    replica.set(line);
    tokio::time::sleep(time).await;
    replica.set(Line::Open);
}
