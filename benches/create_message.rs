//! `CreateMessage`: throughput with 64 calls in flight, and the latency of one call at a time.

use std::time::{Duration, Instant};

use parley_proto::messages_service_client::MessagesServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::{
    Options,
    harness::Harness,
    support::{
        baseline::{Client, Payload},
        fixture::{Fixture, message},
        measurements::median,
        server::authorized,
        table::{Bound, Table, Target},
    },
};

/// Number of connections that share the calls in flight.
const CONNECTIONS: usize = 4;
/// Number of calls in flight on each connection.
const IN_FLIGHT: usize = 16;

/// One round of all throughput measurements.
pub async fn throughput_round(harness: &mut Harness, options: &Options, table: &mut Table) {
    let naive = harness.cluster.pgbench("naive", "naive.sql", 32, options.seconds);
    let fixture = harness.postgres_fixture(options).await;
    let created = create(fixture, options.seconds).await;
    let target = Target {
        name: "CreateMessage, 64 in flight / pgbench naive",
        unit: "messages/s",
        bound: Bound::AtLeast,
        required: 3.0,
        goal: 4.0,
    };
    table.compare(target, created, naive);
    let echoed = echo(harness.baseline().connections(CONNECTIONS).await, options.seconds).await;
    let target = Target {
        name: "CreateMessage, 64 in flight / tonic echo",
        unit: "calls/s",
        bound: Bound::AtLeast,
        required: 0.30,
        goal: 0.40,
    };
    table.compare(target, created, echoed);
    let statement = harness.cluster.pgbench("naive", "cte.sql", 32, options.seconds);
    table.unpaired("pgbench, one statement per message, 32 clients", "messages/s", statement);
    let one_by_one = harness.one_by_one().await.run(options.seconds).await;
    let created = create(harness.sqlite_fixture(options).await, options.seconds).await;
    let target = Target {
        name: "CreateMessage, 64 in flight, SQLite / one by one",
        unit: "messages/s",
        bound: Bound::AtLeast,
        required: 3.0,
        goal: 4.0,
    };
    table.compare(target, created, one_by_one);
}

/// One round of the latency measurement.
pub async fn latency_round(harness: &mut Harness, options: &Options, table: &mut Table) {
    let naive = harness.cluster.pgbench_median_ms("naive", "naive.sql", options.seconds);
    let fixture = harness.postgres_fixture(options).await;
    let mut client = MessagesServiceClient::new(fixture.server.connect().await);
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut millis = Vec::new();
    while Instant::now() < end {
        let (account, conversation) = fixture.conversations.any();
        let request = authorized(message(account, conversation));
        let started = Instant::now();
        client.create_message(request).await.expect("the message is valid");
        millis.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let target = Target {
        name: "CreateMessage, one in flight, p50 / pgbench naive",
        unit: "ms",
        bound: Bound::AtMost,
        required: 1.2,
        goal: 0.9,
    };
    table.compare(target, median(&millis), naive);
}

/// Returns messages per second with 64 calls in flight.
pub async fn create(fixture: &Fixture, seconds: u64) -> f64 {
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    for channel in fixture.server.connections(CONNECTIONS).await {
        for _ in 0..IN_FLIGHT {
            let mut client = MessagesServiceClient::new(channel.clone());
            let conversations = fixture.conversations.clone();
            tasks.spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    let (account, conversation) = conversations.any();
                    let request = authorized(message(account, conversation));
                    client.create_message(request).await.expect("the message is valid");
                    count += 1;
                }
                count
            });
        }
    }
    rate(tasks, started).await
}

/// Returns echo calls per second.
async fn echo(channels: Vec<Channel>, seconds: u64) -> f64 {
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    for channel in channels {
        for _ in 0..IN_FLIGHT {
            let mut client = Client::new(channel.clone());
            tasks.spawn(async move {
                let mut count = 0_u32;
                while Instant::now() < end {
                    client.echo(Payload::new(1)).await.expect("the baseline server responds");
                    count += 1;
                }
                count
            });
        }
    }
    rate(tasks, started).await
}

async fn rate(tasks: JoinSet<u32>, started: Instant) -> f64 {
    let count: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(count) / started.elapsed().as_secs_f64()
}
