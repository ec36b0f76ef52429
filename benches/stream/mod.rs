//! The event stream: how fast a late subscriber catches up, compared with a plain COPY of the same rows; and the latency from commit to a
//! subscriber on another replica, through PostgreSQL's notifications and through NATS, compared with those two alone.

mod latency;

use std::{process::Stdio, time::Instant};

use parley_proto::{
    self as pb, events_service_client::EventsServiceClient, messages_service_client::MessagesServiceClient, subscribe_request::Start,
};

use crate::{
    Options,
    support::{
        cluster::{Cluster, Durability},
        fixture::{Fixture, draft},
        measurements::median,
        server::{Server, authorized},
    },
};

/// Number of messages that a late subscriber has missed; each leaves about two events.
const MISSED: usize = 40_000;

/// Number of messages in one call.
const BATCH: usize = 500;

/// Runs the benchmark and prints Markdown tables.
pub async fn run(options: &Options) {
    let cluster = Cluster::start(Durability::Full);
    cluster.create("stream");
    let url = cluster.url("stream");
    let fixture = Fixture::create(Server::start(&url), 50).await;
    fill(&fixture).await;
    println!("\n| what | measured | baseline | ratio |\n|---|---|---|---|");
    catch_up(&cluster, &fixture, options.rounds).await;
    println!("\n| from a commit to a subscriber | written | p50 | p99 |\n|---|---|---|---|");
    latency::run(&url, &fixture).await;
}

async fn fill(fixture: &Fixture) {
    let mut client = MessagesServiceClient::new(fixture.server.connect().await);
    for _ in 0..MISSED / BATCH {
        let messages = (0..BATCH).map(|_| pb::BatchMessage {
            conversation_id: fixture.conversations.random_in_first_account(),
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
            .expect("the messages are valid");
    }
}

async fn catch_up(cluster: &Cluster, fixture: &Fixture, rounds: usize) {
    let mut client = EventsServiceClient::new(fixture.server.connect().await);
    let info = client.get_log_info(authorized(pb::GetLogInfoRequest { account_id: 1 })).await;
    let head = info.expect("the account exists").into_inner().head_seq;
    let (mut measured, mut baseline, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
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
        let copy = head as f64 / started.elapsed().as_secs_f64();
        let started = Instant::now();
        let request = pb::SubscribeRequest {
            account_id: 1,
            start: Some(Start::Earliest(())),
            ..Default::default()
        };
        let mut stream = client.subscribe(authorized(request)).await.expect("the stream opens").into_inner();
        let mut seen = 0;
        while seen < head {
            let response = stream
                .message()
                .await
                .expect("the stream is open")
                .expect("the stream has not ended");
            seen += response.events.len() as u64;
        }
        let own = head as f64 / started.elapsed().as_secs_f64();
        measured.push(own);
        baseline.push(copy);
        ratios.push(own / copy);
    }
    println!(
        "| catching up on {head} events, compared with COPY of their rows | {:.0}/s | {:.0}/s | {:.2} |",
        median(&measured),
        median(&baseline),
        median(&ratios)
    );
}
