//! Three replicas on one PostgreSQL and one NATS, with a proxy on every connection, and one fault after another.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};
use rustix::process::Signal;

use crate::{
    fault::{self, Fault, Kind, stand_still},
    history::History,
    proxy::{Line, Proxy},
    report::say,
    support::{
        app::TestApp,
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
        nats::Nats,
        server::ListenerAddresses,
    },
    traffic::{Load, REST, Traffic, UNPROTECTED_REST},
    workers::Workers,
    {IN_CI, served},
};

/// The number of replicas.
const SERVERS: usize = 3;

/// A replica with the proxies on its incoming and outgoing connections.
struct Replica {
    app: TestApp,
    clients: Proxy,
    http: Proxy,
    database: Proxy,
    nats: Proxy,
}

impl Replica {
    async fn start(cluster: &Cluster, nats: &Nats, without: Option<&str>) -> Self {
        let url = cluster.url("parley");
        let (head, rest) = url.split_once('@').expect("a user");
        let (place, name) = rest.split_once('/').expect("a database");
        let database = Proxy::before(place).await;
        let through = Database::at(format!("{head}@{}/{name}", database.address));
        let nats = Proxy::before(nats.url().trim_start_matches("nats://")).await;
        let app = served(Backend::Postgres, without)
            .database(through)
            .env("PARLEY_NATS_URL", &format!("nats://{}", nats.address))
            // This timeout also bounds the start, which is slow on a busy machine.
            .env("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "20")
            .start()
            .await;
        let clients = Proxy::before(&app.server.listeners.grpc).await;
        let http = Proxy::before(&app.server.listeners.http).await;
        Self {
            app,
            clients,
            http,
            database,
            nats,
        }
    }

    /// The addresses at which clients reach it; a restart does not change them.
    fn listeners(&self) -> ListenerAddresses {
        ListenerAddresses {
            grpc: self.clients.address.clone(),
            http: self.http.address.clone(),
            ..ListenerAddresses::default()
        }
    }

    async fn again(&mut self) {
        self.app.start_again().await;
        self.clients.lead_to(&self.app.server.listeners.grpc);
        self.http.lead_to(&self.app.server.listeners.http);
    }
}

/// Which faults are injected, how often, and which protection is off.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The number of faults.
    pub count: usize,
    /// The only kind to inject. `None` injects every kind, each once before any repeats.
    pub named: Option<Kind>,
    /// The range of the duration of a fault, in milliseconds.
    pub lasts: (u64, u64),
    /// The protection that is turned off, if any.
    pub without: Option<&'static str>,
}

impl Plan {
    /// A plan that takes about `time`.
    pub fn lasting(time: Duration) -> Self {
        let count = usize::try_from(time.as_secs() / 2).expect("a few");
        // Runs longer than the default inject every kind.
        let least = if time > IN_CI { Kind::ALL.len() } else { 1 };
        Self {
            count: count.max(least),
            named: fault::named(),
            lasts: (300, 2500),
            without: None,
        }
    }
}

/// Runs traffic during a sequence of faults. Returns the history that all clients recorded.
pub async fn under_faults(choices: &mut StdRng, plan: Plan) -> History {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::Full))
        .await
        .expect("it starts");
    execute(&cluster.url("postgres"), "CREATE DATABASE parley").await;
    let nats = Nats::start().await;
    let mut replicas = Vec::new();
    for _ in 0..SERVERS {
        replicas.push(Replica::start(&cluster, &nats, plan.without).await);
    }
    let listeners: Vec<ListenerAddresses> = replicas.iter().map(Replica::listeners).collect();
    let addresses: Vec<String> = listeners.iter().map(|listeners| listeners.grpc.clone()).collect();
    let url = cluster.url("parley");
    let traffic = Traffic::start(listeners, url, Load::full(), choices).await;
    let workers = Workers::start(&addresses, choices);
    let mut site = Site {
        replicas,
        cluster: Some(cluster),
        nats,
    };
    let sequence = Fault::sequence(choices, SERVERS, plan.count, plan.named);
    let (mut played, mut left) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let times = sequence.iter().filter(|fault| fault.kind == *kind).count();
        if times > 0 {
            played.push(format!("{} {times}", kind.name()));
        } else {
            left.push(kind.name());
        }
    }
    say(&format!("  faults: {}; none of {}", played.join(", "), left.join(", ")));
    for fault in sequence {
        let lasts = Duration::from_millis(choices.random_range(plan.lasts.0..plan.lasts.1));
        let kept = choices.random_range(0..500);
        site.strike(fault, lasts, &traffic, kept).await;
        tokio::time::sleep(Duration::from_millis(choices.random_range(200..1200))).await;
    }
    let protected = plan.without.is_none();
    let mut history = traffic.finish(protected).await;
    let patience = if protected { REST } else { UNPROTECTED_REST };
    say(&format!("  {}", workers.finish(&mut history, patience).await));
    drop(site);
    history
}

/// Makes events of the busy account older than the retention period, so that they are trimmed while being read.
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

/// Everything that faults are injected into.
struct Site {
    replicas: Vec<Replica>,
    cluster: Option<Cluster>,
    nats: Nats,
}

impl Site {
    /// Injects a fault and repairs it. `Kind::Age` spares the last `kept` of the copied events.
    async fn strike(&mut self, fault: Fault, lasts: Duration, traffic: &Traffic, kept: u64) {
        let replica = &mut self.replicas[fault.server];
        match fault.kind {
            Kind::Kill => {
                replica.app.server.kill();
                replica.again().await;
            }
            Kind::Stop => stand_still(&replica.app.server, lasts).await,
            Kind::Restart => {
                replica.app.server.terminate();
                replica.app.server.wait().await;
                replica.again().await;
            }
            Kind::DatabaseCrash => self.database_dies(Cluster::crash).await,
            Kind::DatabaseKill => self.database_dies(Cluster::kill).await,
            Kind::DatabaseStop => {
                let still = |still| self.cluster.as_ref().expect("it runs").stand_still(still);
                still(true);
                tokio::time::sleep(lasts).await;
                still(false);
            }
            Kind::Cut => {
                replica.clients.cut();
                replica.http.cut();
            }
            Kind::Stall => during(&[&replica.clients, &replica.http], Line::Stalled, lasts).await,
            Kind::Slow => during(&[&replica.clients, &replica.http], Line::Slow, lasts).await,
            Kind::CutDatabase => replica.database.cut(),
            Kind::StallDatabase => during(&[&replica.database], Line::Stalled, lasts).await,
            Kind::SlowDatabase => during(&[&replica.database], Line::Slow, lasts).await,
            Kind::NatsKill => {
                self.nats.kill();
                tokio::time::sleep(lasts).await;
                self.nats.start_again().await;
            }
            Kind::NatsStop => {
                fault::signal(self.nats.id(), true);
                tokio::time::sleep(lasts).await;
                fault::signal(self.nats.id(), false);
            }
            Kind::CutNats => replica.nats.cut(),
            Kind::StallNats => during(&[&replica.nats], Line::Stalled, lasts).await,
            Kind::SlowNats => during(&[&replica.nats], Line::Slow, lasts).await,
            Kind::SubscriberKill => traffic.subscribers.signal(Signal::KILL),
            Kind::SubscriberStop => {
                traffic.subscribers.signal(Signal::STOP);
                tokio::time::sleep(lasts).await;
                traffic.subscribers.signal(Signal::CONT);
            }
            Kind::Age => {
                let cluster = self.cluster.as_ref().expect("it runs");
                age(&cluster.url("parley"), traffic.copied().saturating_sub(kept)).await;
            }
        }
    }

    async fn database_dies(&mut self, how: fn(&mut Cluster)) {
        let mut broken = self.cluster.take().expect("it runs");
        let again = tokio::task::spawn_blocking(move || {
            how(&mut broken);
            broken.start_again();
            broken
        });
        self.cluster = Some(again.await.expect("it starts again"));
    }
}

/// Sets proxies to `what` for a while.
async fn during(lines: &[&Proxy], what: Line, time: Duration) {
    for line in lines {
        line.set(what);
    }
    tokio::time::sleep(time).await;
    for line in lines {
        line.set(Line::Open);
    }
}
