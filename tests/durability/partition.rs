//! Each replica runs on a host of its own as far as the network is concerned: in a network namespace with a cable to PostgreSQL, NATS and
//! all clients, which can be unplugged at either end. Packets are dropped then, and no connection is reset.

use std::{process::Command, time::Duration};

use rand::{Rng as _, rngs::StdRng};

use crate::{
    history::History,
    proxy::Proxy,
    report::say,
    support::{
        app::TestApp,
        cluster::{Cluster, Durability},
        database::{Backend, Database, execute},
        nats::Nats,
        server::{ListenerAddresses, program},
    },
    traffic::{Load, Traffic},
};

/// The number of replicas.
const SERVERS: usize = 3;

/// Runs a command of iproute2.
fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is there");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments}: {said}");
}

/// A network namespace with a virtual cable.
struct Host {
    name: String,
    index: usize,
}

impl Host {
    fn new(index: usize) -> Self {
        let name = format!("parley-{}-{index}", std::process::id());
        ip(&format!("netns add {name}"));
        let host = Self { name, index };
        let (name, near) = (&host.name, host.near());
        ip(&format!("link add {near} type veth peer name eth0 netns {name}"));
        ip(&format!("addr add 10.77.{index}.1/24 dev {near}"));
        ip(&format!("link set {near} up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} addr add 10.77.{index}.2/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        host
    }

    fn near(&self) -> String {
        format!("host{}", self.index)
    }

    /// Unplugs the cable or plugs it in again, at the host's own end or at the far end.
    fn cable(&self, own_end: bool, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        if own_end {
            ip(&format!("-n {} link set eth0 {state}", self.name));
        } else {
            ip(&format!("link set {} {state}", self.near()));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A replica on its host, with the proxies through which it reaches the database and NATS.
struct Replica {
    app: TestApp,
    _database: Proxy,
    _nats: Proxy,
    host: Host,
}

impl Replica {
    async fn start(index: usize, cluster: &Cluster, nats: &Nats) -> Self {
        let host = Host::new(index);
        let url = cluster.url("parley");
        let (head, rest) = url.split_once('@').expect("a user");
        let (place, name) = rest.split_once('/').expect("a database");
        let own = format!("10.77.{index}.1:0");
        let database = Proxy::at(&own, place).await;
        let events = Proxy::at(&own, nats.url().trim_start_matches("nats://")).await;
        let inside = program();
        let mut by = Command::new("ip");
        by.args(["netns", "exec", &host.name]).arg(inside.get_program());
        for (name, value) in inside.get_envs() {
            match value {
                Some(value) => by.env(name, value),
                None => by.env_remove(name),
            };
        }
        let api = format!("10.77.{index}.2:0");
        let app = TestApp::builder(Backend::Postgres)
            .program(by)
            .database(Database::at(format!("{head}@{}/{name}", database.address)))
            .env("PARLEY_NATS_URL", &format!("nats://{}", events.address))
            .env("PARLEY_GRPC_ADDR", &api)
            .env("PARLEY_HTTP_ADDR", &api)
            .env("PARLEY_ADMIN_ADDR", &api)
            .env("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "20")
            .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
            .platform()
            .start()
            .await;
        Self {
            app,
            _database: database,
            _nats: events,
            host,
        }
    }
}

/// Runs traffic while one cable at a time is unplugged. Returns the history that all clients recorded.
pub async fn pulled(choices: &mut StdRng, time: Duration) -> History {
    ip("link set lo up");
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Durability::Full))
        .await
        .expect("it starts");
    execute(&cluster.url("postgres"), "CREATE DATABASE parley").await;
    let nats = Nats::start().await;
    let mut replicas = Vec::new();
    for index in 0..SERVERS {
        replicas.push(Replica::start(index, &cluster, &nats).await);
    }
    let listeners: Vec<ListenerAddresses> = replicas.iter().map(|replica| replica.app.server.listeners.clone()).collect();
    let traffic = Traffic::start(listeners, cluster.url("parley"), Load::full(), choices).await;
    // Let every client make its first calls.
    tokio::time::sleep(Duration::from_secs_f64(choices.random_range(1.0..2.0))).await;
    let mut left = time.as_secs_f64();
    // The first partition lasts longer than any timeout for a silent peer.
    let mut lasts = 13.0;
    while left > 0.0 {
        let (replica, own_end) = (choices.random_range(0..SERVERS), choices.random_bool(0.5));
        let end = if own_end { "its own end" } else { "the others' end" };
        say(&format!("  replica {replica} is cut off for {lasts:.1} s at {end}"));
        replicas[replica].host.cable(own_end, false);
        tokio::time::sleep(Duration::from_secs_f64(lasts)).await;
        replicas[replica].host.cable(own_end, true);
        left -= lasts;
        lasts = choices.random_range(0.5..4.0);
        tokio::time::sleep(Duration::from_secs_f64(choices.random_range(0.5..2.0))).await;
    }
    let history = traffic.finish(true).await;
    drop(replicas);
    history
}
