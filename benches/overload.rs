//! Overload with four times the calls that the service can serve: goodput, latency, memory, and the throughput afterwards.
//!
//! If `taskset` is available, the service and its database run on one processor and the clients on another. Otherwise the clients take
//! processor time from the service that is being measured.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parley_proto::messages_service_client::MessagesServiceClient;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::{Code, transport::Channel};

use crate::{
    Options,
    support::{
        cluster::{Cluster, Durability},
        gauge::{median, resident_kb},
        server::{Server, authorized},
        world::{Places, World, message},
    },
};

/// The offered load, relative to the capacity.
const TIMES: f64 = 4.0;
/// Duration of the overload.
const LONG: Duration = Duration::from_secs(8);
/// Interval between two bursts of calls.
const PACE: Duration = Duration::from_millis(2);
/// Number of connections that share the calls.
const CONNECTIONS: usize = 16;
/// Maximum number of calls that the clients keep in flight: with more, they would measure their own memory.
const UNDER_WAY: usize = 20_000;

/// Runs the benchmark and prints a Markdown table.
pub async fn run(options: &Options) {
    let cluster = Cluster::start(Durability::Full);
    cluster.create("overload");
    let world = World::make(Server::start(&cluster.url("overload")), 50).await;
    let pinned = pin(world.server.pid(), &cluster);
    println!(
        "\nservice and database on a processor of their own: {}",
        if pinned { "yes" } else { "no" }
    );
    println!(
        "\n| round | capacity | asked for | answered well | goodput | p50 | p99 | refused | memory before, at most, after | afterwards |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut goodputs = Vec::new();
    for round in 1..=options.rounds {
        let capacity = closed(&world, options.seconds).await;
        let before = resident_kb(world.server.pid()) / 1024.0;
        let seen = open(&world, capacity * TIMES).await;
        let after = resident_kb(world.server.pid()) / 1024.0;
        let again = closed(&world, options.seconds).await;
        let goodput = seen.well / capacity;
        goodputs.push(goodput);
        println!(
            "| {round} | {capacity:.0}/s | {:.0}/s | {:.0}/s | {goodput:.2} | {:.0} ms | {:.0} ms | {:.0}/s | {before:.0}, {:.0}, {after:.0} MB | {:.2} of it |",
            seen.asked,
            seen.well,
            seen.p50,
            seen.p99,
            seen.refused,
            seen.peak,
            again / capacity
        );
    }
    println!("\nmedian goodput: {:.2} (goal: at least 0.8)", median(&goodputs));
}

/// Pins the service and the database to the first processor, and this process to the second. Returns whether this succeeded.
fn pin(server: u32, cluster: &Cluster) -> bool {
    let database = std::fs::read_to_string(cluster.directory().join("data/postmaster.pid")).unwrap_or_default();
    let database = database.lines().next().unwrap_or_default().to_owned();
    let set = |processor: &str, process: &str| {
        let mut command = Command::new("taskset");
        command
            .args(["-apc", processor, process])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let children = Command::new("pgrep")
        .args(["-P", &database])
        .output()
        .map(|found| found.stdout)
        .unwrap_or_default();
    let children = String::from_utf8_lossy(&children).into_owned();
    children.lines().chain([database.as_str()]).all(|process| set("0", process))
        && set("0", &server.to_string())
        && set("1", &std::process::id().to_string())
}

/// Closed loop: returns messages per second with 64 calls in flight, where each client waits for its response.
async fn closed(world: &World, seconds: u64) -> f64 {
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    for channel in world.server.connections(4).await {
        for _ in 0..16 {
            let (channel, places) = (channel.clone(), Arc::clone(&world.places));
            tasks.spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    // Directly after an overload, some calls are still rejected with a request to retry.
                    count += u32::from(create(&channel, &places).await == Code::Ok);
                }
                count
            });
        }
    }
    let count: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// The measurements during an overload.
struct Seen {
    asked: f64,
    well: f64,
    refused: f64,
    p50: f64,
    p99: f64,
    peak: f64,
}

#[derive(Default)]
struct Counts {
    refused: AtomicU64,
    under_way: AtomicUsize,
}

/// Open loop: sends calls at a fixed rate, without waiting for responses.
async fn open(world: &World, per_second: f64) -> Seen {
    let channels = world.server.connections(CONNECTIONS).await;
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut asked, mut sent, mut peak) = (Instant::now(), 0_u64, 0_u64, 0.0_f64);
    while begun.elapsed() < LONG {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * per_second) as u64;
        while asked < due {
            asked += 1;
            if counts.under_way.fetch_add(1, Ordering::Relaxed) >= UNDER_WAY {
                counts.under_way.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            sent += 1;
            let channel = channels[usize::try_from(asked).unwrap_or_default() % CONNECTIONS].clone();
            let (counts, places) = (Arc::clone(&counts), Arc::clone(&world.places));
            tasks.spawn(async move {
                let sent = Instant::now();
                let code = create(&channel, &places).await;
                counts.under_way.fetch_sub(1, Ordering::Relaxed);
                if code == Code::Ok {
                    return Some(sent.elapsed().as_secs_f64() * 1000.0);
                }
                counts.refused.fetch_add(1, Ordering::Relaxed);
                None
            });
        }
        if asked % 64 == 0 {
            peak = peak.max(resident_kb(world.server.pid()) / 1024.0);
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let mut millis: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis.get((millis.len() as f64 * share) as usize).copied().unwrap_or_default();
    Seen {
        asked: sent as f64 / took,
        // Includes calls that complete after the end of the interval, which is long in comparison.
        well: millis.len() as f64 / begun.elapsed().as_secs_f64(),
        refused: counts.refused.load(Ordering::Relaxed) as f64 / took,
        p50: at(0.5),
        p99: at(0.99),
        peak,
    }
}

async fn create(channel: &Channel, places: &Places) -> Code {
    let (account, conversation) = places.any();
    let request = authorized(message(account, conversation));
    match MessagesServiceClient::new(channel.clone()).create_message(request).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}
