//! Latency of an event from its commit to a subscriber: at a steady rate and at full speed, on the writing replica and on another one of
//! three, through PostgreSQL's notifications and through NATS; compared with those two alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use parley_proto::{self as pb, events_service_client::EventsServiceClient, messages_service_client::MessagesServiceClient};
use sqlx::{Connection as _, PgConnection, postgres::PgListener};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::transport::Channel;

use crate::support::{
    fixture::{Fixture, message},
    nats,
    server::{Server, authorized},
};

/// How long messages are written.
const DURATION: Duration = Duration::from_secs(5);

/// Messages per second at the steady rate.
const RATE: u64 = 1000;

/// Number of calls in flight at full speed.
const IN_FLIGHT: usize = 64;

/// A message ID, and when its writer received the response.
type Reply = (i64, Instant);

/// Prints a row for each path.
pub async fn run(url: &str, fixture: &Fixture) {
    let own = [fixture.server.connect().await];
    measure_both("the same replica, single", fixture, &own, own[0].clone()).await;
    let second = Server::start(url);
    let third = Server::start(url);
    let (near, far) = (second.connect().await, third.connect().await);
    measure_both("another replica of three, notified by PostgreSQL", fixture, &own, far.clone()).await;
    measure_both("the same, two writing replicas", fixture, &[own[0].clone(), near], far).await;
    drop((second, third));
    notify_baseline(url).await;
    with_nats(url).await;
}

/// Measures at a steady rate and at full speed.
async fn measure_both(name: &str, fixture: &Fixture, write_channels: &[Channel], read_channel: Channel) {
    measure(name, true, fixture, write_channels, &read_channel).await;
    measure(name, false, fixture, write_channels, &read_channel).await;
}

async fn measure(name: &str, is_steady: bool, fixture: &Fixture, write_channels: &[Channel], read_channel: &Channel) {
    let request = pb::SubscribeRequest {
        account_id: 1,
        ..Default::default()
    };
    let mut stream = EventsServiceClient::new(read_channel.clone())
        .subscribe(authorized(request))
        .await
        .expect("the stream opens")
        .into_inner();
    // The first bookmark means that the stream has reached the head.
    stream.message().await.expect("the stream is open");
    let arrivals = Arc::new(Mutex::new(HashMap::new()));
    let arrived = Arc::clone(&arrivals);
    let reader = tokio::spawn(async move {
        while let Ok(Some(response)) = stream.message().await {
            let now = Instant::now();
            let mut arrived = arrived.lock().expect("no thread panicked while holding the lock");
            for event in response.events.into_iter().filter_map(|delivery| delivery.event) {
                if let Some(pb::event::Resource::Message(created)) = event.resource {
                    arrived.entry(created.message.unwrap_or_default().id).or_insert(now);
                }
            }
        }
    });
    let replies = if is_steady {
        steady(fixture, write_channels).await
    } else {
        flat_out(fixture, write_channels).await
    };
    // Wait for the events of the last messages.
    tokio::time::sleep(Duration::from_secs(1)).await;
    reader.abort();
    let arrivals = arrivals.lock().expect("no thread panicked while holding the lock");
    let latencies = replies.iter().map(|(id, replied)| {
        let arrived = arrivals.get(id).expect("every event arrives");
        arrived.saturating_duration_since(*replied).as_secs_f64() * 1000.0
    });
    let rate = replies.len() as f64 / DURATION.as_secs_f64();
    row(name, &format!("{rate:.0}/s"), latencies.collect());
}

async fn send(channel: Channel, conversation: i64) -> Reply {
    let mut client = MessagesServiceClient::new(channel);
    let response = client
        .create_message(authorized(message(1, conversation)))
        .await
        .expect("the message is valid");
    (response.into_inner().message.unwrap_or_default().id, Instant::now())
}

async fn steady(fixture: &Fixture, write_channels: &[Channel]) -> Vec<Reply> {
    let mut ticks = interval(Duration::from_micros(1_000_000 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    let started = Instant::now();
    let mut writers = write_channels.iter().cycle();
    while started.elapsed() < DURATION {
        ticks.tick().await;
        let channel = writers.next().expect("there is at least one channel").clone();
        calls.spawn(send(channel, fixture.conversations.random_in_first_account()));
    }
    calls.join_all().await
}

async fn flat_out(fixture: &Fixture, write_channels: &[Channel]) -> Vec<Reply> {
    let mut calls = JoinSet::new();
    let mut writers = write_channels.iter().cycle();
    let mut next = |calls: &mut JoinSet<Reply>| {
        let channel = writers.next().expect("there is at least one channel").clone();
        calls.spawn(send(channel, fixture.conversations.random_in_first_account()));
    };
    let started = Instant::now();
    for _ in 0..IN_FLIGHT {
        next(&mut calls);
    }
    let mut replies = Vec::new();
    while let Some(reply) = calls.join_next().await {
        replies.push(reply.expect("the call does not panic"));
        if started.elapsed() < DURATION {
            next(&mut calls);
        }
    }
    replies
}

fn row(name: &str, rate: &str, mut millis: Vec<f64>) {
    millis.sort_by(f64::total_cmp);
    let at = |share: usize| millis[(millis.len() - 1) * share / 100];
    println!("| {name} | {rate} | {:.2} ms | {:.2} ms |", at(50), at(99));
}

/// Measures the latency from `pg_notify` to a listener.
async fn notify_baseline(url: &str) {
    let mut listener = PgListener::connect(url).await.expect("the cluster accepts connections");
    listener.listen("bench").await.expect("the statement is permitted");
    let mut connection = PgConnection::connect(url).await.expect("the cluster accepts connections");
    let mut millis = Vec::new();
    for _ in 0..1000 {
        sqlx::query("SELECT pg_notify('bench', 'x')")
            .execute(&mut connection)
            .await
            .expect("the statement is permitted");
        let started = Instant::now();
        listener.recv().await.expect("the notification arrives");
        millis.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    row("NOTIFY only, after the response to its statement", "one by one", millis);
}

/// Measures three replicas that are connected by NATS, and NATS alone. Skipped if nats-server is not installed.
async fn with_nats(url: &str) {
    let Some(nats) = nats::start() else {
        println!("| notified by NATS | nats-server is not installed | | |");
        return;
    };
    let address = nats.url();
    let start = || Server::start_with(url, &[("PARLEY_NATS_URL", &address)]);
    let (first, second, reader) = (start(), start(), start());
    let fixture = Fixture::create(first, 1).await;
    let writers = [fixture.server.connect().await, second.connect().await];
    let far = reader.connect().await;
    measure_both("another replica of three, notified by NATS", &fixture, &writers[..1], far.clone()).await;
    measure_both("the same, two writing replicas", &fixture, &writers, far).await;
    let client = async_nats::connect(&address).await.expect("NATS is running");
    let mut subscriber = client.subscribe("bench").await.expect("the statement is permitted");
    let mut millis = Vec::new();
    for _ in 0..1000 {
        let started = Instant::now();
        client.publish("bench", "x".into()).await.expect("the statement is permitted");
        client.flush().await.expect("the statement is permitted");
        subscriber.next().await.expect("the notification arrives");
        millis.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    row("NATS core only, publish to subscriber", "one by one", millis);
}
