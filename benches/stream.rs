//! The stream by itself: how fast a late reader catches up, beside a plain COPY of the same rows, and how long an event takes from its commit
//! to a subscriber at another replica, by PostgreSQL's signals and by NATS, beside what those two take alone.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use parley::pb::{
    self, events_service_client::EventsServiceClient, messages_service_client::MessagesServiceClient, subscribe_request::Start,
};
use sqlx::{Connection as _, PgConnection, postgres::PgListener};
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::Channel;

use crate::{
    Options,
    support::{
        cluster::{Cluster, Durability},
        gauge::median,
        server::{Server, authorized},
        world::{World, draft, message},
    },
};

/// Messages that a late reader has missed; each leaves about two events.
const MISSED: usize = 40_000;

/// Messages in one call.
const BATCH: usize = 500;

/// How long messages are written at a steady pace, and how many a second.
const STEADY: Duration = Duration::from_secs(5);
const PACE: u64 = 1000;

/// Measures and prints a table in Markdown.
pub async fn run(options: &Options) {
    let cluster = Cluster::start(Durability::Full);
    cluster.create("stream");
    let url = cluster.url("stream");
    let world = World::make(Server::start(&url), 50).await;
    fill(&world).await;
    println!("\n| what | measured | beside it | ratio |\n|---|---|---|---|");
    catch_up(&cluster, &world, options.rounds).await;
    println!("\n| from a commit to a subscriber, {PACE} messages a second | p50 | p99 |\n|---|---|---|");
    steady("the same replica", &world, world.server.connect().await).await;
    let other = Server::start(&url);
    steady("another replica, by PostgreSQL's signals", &world, other.connect().await).await;
    drop(other);
    notify_alone(&url).await;
    with_nats(&url).await;
}

async fn fill(world: &World) {
    let mut client = MessagesServiceClient::new(world.server.connect().await);
    for _ in 0..MISSED / BATCH {
        let messages = (0..BATCH).map(|_| pb::BatchMessage {
            conversation_id: world.places.any_of_first(),
            message: Some(draft()),
        });
        let request = pb::BatchCreateMessagesRequest {
            account_id: 1,
            messages: messages.collect(),
            ..Default::default()
        };
        client
            .batch_create_messages(authorized(request))
            .await
            .expect("the messages are good");
    }
}

async fn catch_up(cluster: &Cluster, world: &World, rounds: usize) {
    let mut client = EventsServiceClient::new(world.server.connect().await);
    let info = client.get_log_info(authorized(pb::GetLogInfoRequest { account_id: 1 })).await;
    let head = info.expect("the account is there").into_inner().head_seq;
    let (mut measured, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let copied = cluster
            .program("psql")
            .args([
                "-d",
                "stream",
                "-X",
                "-q",
                "-c",
                "COPY (SELECT * FROM events WHERE account_id = 1 ORDER BY seq) TO STDOUT",
            ])
            .stdout(Stdio::null())
            .status();
        assert!(copied.expect("psql runs").success());
        let copy = head as f64 / begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let request = pb::SubscribeRequest {
            account_id: 1,
            start: Some(Start::Earliest(())),
            ..Default::default()
        };
        let mut stream = client.subscribe(authorized(request)).await.expect("it opens").into_inner();
        let mut seen = 0;
        while seen < head {
            let response = stream.message().await.expect("it goes on").expect("it does not end");
            seen += response.events.len() as u64;
        }
        let own = head as f64 / begun.elapsed().as_secs_f64();
        measured.push(own);
        beside.push(copy);
        ratios.push(own / copy);
    }
    println!(
        "| a late reader, {head} events, beside COPY of their rows | {:.0}/s | {:.0}/s | {:.2} |",
        median(&measured),
        median(&beside),
        median(&ratios)
    );
}

/// Writes at a steady pace through one replica, and listens at another.
async fn steady(name: &str, world: &World, listening: Channel) {
    let request = pb::SubscribeRequest {
        account_id: 1,
        ..Default::default()
    };
    let mut stream = EventsServiceClient::new(listening)
        .subscribe(authorized(request))
        .await
        .expect("it opens")
        .into_inner();
    // The first bookmark says that it is at the head.
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
    let client = MessagesServiceClient::new(world.server.connect().await);
    let mut ticks = interval(Duration::from_micros(1_000_000 / PACE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = Vec::new();
    let until = Instant::now() + STEADY;
    while Instant::now() < until {
        ticks.tick().await;
        let (mut client, conversation) = (client.clone(), world.places.any_of_first());
        calls.push(tokio::spawn(async move {
            let made = client
                .create_message(authorized(message(1, conversation)))
                .await
                .expect("it is good");
            (made.into_inner().message.unwrap_or_default().id, Instant::now())
        }));
    }
    let mut replies = Vec::new();
    for call in calls {
        replies.push(call.await.expect("no panic"));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    reader.abort();
    let arrivals = arrivals.lock().expect("nobody panics");
    let taken = replies.iter().map(|(id, replied)| {
        let arrived = arrivals.get(id).expect("every event arrives");
        arrived.saturating_duration_since(*replied).as_secs_f64() * 1000.0
    });
    row(name, taken.collect());
}

fn row(name: &str, mut millis: Vec<f64>) {
    millis.sort_by(f64::total_cmp);
    let at = |share: usize| millis[(millis.len() - 1) * share / 100];
    println!("| {name} | {:.2} ms | {:.2} ms |", at(50), at(99));
}

/// From `pg_notify` to a listener, and nothing else.
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
    row("NOTIFY alone, after its statement was answered", millis);
}

/// The same two replicas with NATS between them, and NATS alone; left out where there is no nats-server.
async fn with_nats(url: &str) {
    let Some(nats) = crate::support::nats::start() else {
        println!("| by NATS | no nats-server here | |");
        return;
    };
    let address = nats.url();
    let (writing, listening) = (
        Server::start_with(url, &[("PARLEY_NATS_URL", &address)]),
        Server::start_with(url, &[("PARLEY_NATS_URL", &address)]),
    );
    let world = World::make(writing, 1).await;
    steady("another replica, by NATS", &world, listening.connect().await).await;
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
    row("NATS core alone, publish to subscriber", millis);
}
