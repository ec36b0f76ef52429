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
    nats,
    server::{Server, authorized},
    world::{World, message},
};

/// How long messages are written.
const TIME: Duration = Duration::from_secs(5);

/// Messages per second at the steady rate.
const PACE: u64 = 1000;

/// Number of calls in flight at full speed.
const IN_FLIGHT: usize = 64;

/// A message ID, and when its writer received the response.
type Reply = (i64, Instant);

/// Prints a row for each path.
pub async fn run(url: &str, world: &World) {
    let own = [world.server.connect().await];
    both("the same replica, alone", world, &own, own[0].clone()).await;
    let second = Server::start(url);
    let third = Server::start(url);
    let (near, far) = (second.connect().await, third.connect().await);
    both("another replica of three, by PostgreSQL's signals", world, &own, far.clone()).await;
    both("the same, two replicas write", world, &[own[0].clone(), near], far).await;
    drop((second, third));
    notify_alone(url).await;
    with_nats(url).await;
}

/// Measures at a steady rate and at full speed.
async fn both(name: &str, world: &World, writing: &[Channel], listening: Channel) {
    measure(name, true, world, writing, &listening).await;
    measure(name, false, world, writing, &listening).await;
}

async fn measure(name: &str, steadily: bool, world: &World, writing: &[Channel], listening: &Channel) {
    let request = pb::SubscribeRequest {
        account_id: 1,
        ..Default::default()
    };
    let mut stream = EventsServiceClient::new(listening.clone())
        .subscribe(authorized(request))
        .await
        .expect("it opens")
        .into_inner();
    // The first bookmark means that the stream has reached the head.
    stream.message().await.expect("it goes on");
    let arrivals = Arc::new(Mutex::new(HashMap::new()));
    let arrived = Arc::clone(&arrivals);
    let reader = tokio::spawn(async move {
        while let Ok(Some(response)) = stream.message().await {
            let now = Instant::now();
            let mut arrived = arrived.lock().expect("nobody panics");
            for event in response.events.into_iter().filter_map(|delivery| delivery.event) {
                if let Some(pb::event::Resource::Message(told)) = event.resource {
                    arrived.entry(told.message.unwrap_or_default().id).or_insert(now);
                }
            }
        }
    });
    let replies = if steadily {
        steady(world, writing).await
    } else {
        flat_out(world, writing).await
    };
    // Wait for the events of the last messages.
    tokio::time::sleep(Duration::from_secs(1)).await;
    reader.abort();
    let arrivals = arrivals.lock().expect("nobody panics");
    let taken = replies.iter().map(|(id, replied)| {
        let arrived = arrivals.get(id).expect("every event arrives");
        arrived.saturating_duration_since(*replied).as_secs_f64() * 1000.0
    });
    let rate = replies.len() as f64 / TIME.as_secs_f64();
    row(name, &format!("{rate:.0}/s"), taken.collect());
}

async fn send(channel: Channel, conversation: i64) -> Reply {
    let mut client = MessagesServiceClient::new(channel);
    let made = client
        .create_message(authorized(message(1, conversation)))
        .await
        .expect("it is good");
    (made.into_inner().message.unwrap_or_default().id, Instant::now())
}

async fn steady(world: &World, writing: &[Channel]) -> Vec<Reply> {
    let mut ticks = interval(Duration::from_micros(1_000_000 / PACE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    let begun = Instant::now();
    let mut writers = writing.iter().cycle();
    while begun.elapsed() < TIME {
        ticks.tick().await;
        let channel = writers.next().expect("there is one").clone();
        calls.spawn(send(channel, world.places.any_of_first()));
    }
    calls.join_all().await
}

async fn flat_out(world: &World, writing: &[Channel]) -> Vec<Reply> {
    let mut calls = JoinSet::new();
    let mut writers = writing.iter().cycle();
    let mut next = |calls: &mut JoinSet<Reply>| {
        let channel = writers.next().expect("there is one").clone();
        calls.spawn(send(channel, world.places.any_of_first()));
    };
    let begun = Instant::now();
    for _ in 0..IN_FLIGHT {
        next(&mut calls);
    }
    let mut replies = Vec::new();
    while let Some(reply) = calls.join_next().await {
        replies.push(reply.expect("no panic"));
        if begun.elapsed() < TIME {
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
async fn notify_alone(url: &str) {
    let mut listener = PgListener::connect(url).await.expect("the cluster accepts");
    listener.listen("bench").await.expect("it may");
    let mut connection = PgConnection::connect(url).await.expect("the cluster accepts");
    let mut millis = Vec::new();
    for _ in 0..1000 {
        sqlx::query("SELECT pg_notify('bench', 'x')")
            .execute(&mut connection)
            .await
            .expect("it may");
        let begun = Instant::now();
        listener.recv().await.expect("it comes");
        millis.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    row("NOTIFY alone, after its statement was answered", "one by one", millis);
}

/// Measures three replicas that are connected by NATS, and NATS alone. Skipped if nats-server is not installed.
async fn with_nats(url: &str) {
    let Some(nats) = nats::start() else {
        println!("| by NATS | no nats-server here | | |");
        return;
    };
    let address = nats.url();
    let start = || Server::start_with(url, &[("PARLEY_NATS_URL", &address)]);
    let (writing, second, listening) = (start(), start(), start());
    let world = World::make(writing, 1).await;
    let writers = [world.server.connect().await, second.connect().await];
    let far = listening.connect().await;
    both("another replica of three, by NATS", &world, &writers[..1], far.clone()).await;
    both("the same, two replicas write", &world, &writers, far).await;
    let client = async_nats::connect(&address).await.expect("NATS is there");
    let mut subscriber = client.subscribe("bench").await.expect("it may");
    let mut millis = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        client.publish("bench", "x".into()).await.expect("it may");
        client.flush().await.expect("it may");
        subscriber.next().await.expect("it comes");
        millis.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    row("NATS core alone, publish to subscriber", "one by one", millis);
}
