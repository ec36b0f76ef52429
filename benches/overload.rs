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
        fixture::{Conversations, Fixture, message},
        measurements::{median, resident_kb},
        server::{Server, authorized},
    },
};

/// The offered load, relative to the capacity.
const OVERLOAD_FACTOR: f64 = 4.0;
/// Duration of the overload.
const DURATION: Duration = Duration::from_secs(8);
/// Interval between two bursts of calls.
const TICK: Duration = Duration::from_millis(2);
/// Number of connections that share the calls.
const CONNECTIONS: usize = 16;
/// Maximum number of calls that the clients keep in flight: with more, they would measure their own memory.
const MAX_IN_FLIGHT: usize = 20_000;

/// Runs the benchmark and prints a Markdown table.
pub async fn run(options: &Options) {
    let cluster = Cluster::start(Durability::Full);
    cluster.create("overload");
    let fixture = Fixture::create(Server::start(&cluster.url("overload")), 50).await;
    let pinned = pin(fixture.server.pid(), &cluster);
    println!(
        "\nservice and database pinned to their own CPU: {}",
        if pinned { "yes" } else { "no" }
    );
    println!(
        "\n| round | capacity | offered | succeeded | goodput | p50 | p99 | rejected | memory before, peak, after | throughput afterwards |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut goodputs = Vec::new();
    for round in 1..=options.rounds {
        let capacity = closed_loop(&fixture, options.seconds).await;
        let before = resident_kb(fixture.server.pid()) / 1024.0;
        let result = open_loop(&fixture, capacity * OVERLOAD_FACTOR).await;
        let after = resident_kb(fixture.server.pid()) / 1024.0;
        let afterwards = closed_loop(&fixture, options.seconds).await;
        let goodput = result.succeeded / capacity;
        goodputs.push(goodput);
        println!(
            "| {round} | {capacity:.0}/s | {:.0}/s | {:.0}/s | {goodput:.2} | {:.0} ms | {:.0} ms | {:.0}/s | {before:.0}, {:.0}, {after:.0} MB | {:.2} of capacity |",
            result.offered,
            result.succeeded,
            result.p50,
            result.p99,
            result.rejected,
            result.peak,
            afterwards / capacity
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
async fn closed_loop(fixture: &Fixture, seconds: u64) -> f64 {
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    for channel in fixture.server.connections(4).await {
        for _ in 0..16 {
            let (channel, conversations) = (channel.clone(), Arc::clone(&fixture.conversations));
            tasks.spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    // Directly after an overload, some calls are still rejected with a request to retry.
                    count += u32::from(create(&channel, &conversations).await == Code::Ok);
                }
                count
            });
        }
    }
    let count: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// The measurements during an overload.
struct OverloadResult {
    offered: f64,
    succeeded: f64,
    rejected: f64,
    p50: f64,
    p99: f64,
    peak: f64,
}

#[derive(Default)]
struct Counts {
    rejected: AtomicU64,
    in_flight: AtomicUsize,
}

/// Open loop: sends calls at a fixed rate, without waiting for responses.
async fn open_loop(fixture: &Fixture, per_second: f64) -> OverloadResult {
    let channels = fixture.server.connections(CONNECTIONS).await;
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (started, mut offered, mut sent, mut peak) = (Instant::now(), 0_u64, 0_u64, 0.0_f64);
    while started.elapsed() < DURATION {
        ticks.tick().await;
        let due = (started.elapsed().as_secs_f64() * per_second) as u64;
        while offered < due {
            offered += 1;
            if counts.in_flight.fetch_add(1, Ordering::Relaxed) >= MAX_IN_FLIGHT {
                counts.in_flight.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            sent += 1;
            let channel = channels[usize::try_from(offered).unwrap_or_default() % CONNECTIONS].clone();
            let (counts, conversations) = (Arc::clone(&counts), Arc::clone(&fixture.conversations));
            tasks.spawn(async move {
                let sent = Instant::now();
                let code = create(&channel, &conversations).await;
                counts.in_flight.fetch_sub(1, Ordering::Relaxed);
                if code == Code::Ok {
                    return Some(sent.elapsed().as_secs_f64() * 1000.0);
                }
                counts.rejected.fetch_add(1, Ordering::Relaxed);
                None
            });
        }
        if offered % 64 == 0 {
            peak = peak.max(resident_kb(fixture.server.pid()) / 1024.0);
        }
    }
    let took = started.elapsed().as_secs_f64();
    let mut millis: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis.get((millis.len() as f64 * share) as usize).copied().unwrap_or_default();
    OverloadResult {
        offered: sent as f64 / took,
        // Includes calls that complete after the end of the interval, which is long in comparison.
        succeeded: millis.len() as f64 / started.elapsed().as_secs_f64(),
        rejected: counts.rejected.load(Ordering::Relaxed) as f64 / took,
        p50: at(0.5),
        p99: at(0.99),
        peak,
    }
}

async fn create(channel: &Channel, conversations: &Conversations) -> Code {
    let (account, conversation) = conversations.any();
    let request = authorized(message(account, conversation));
    match MessagesServiceClient::new(channel.clone()).create_message(request).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}
