//! Replicas that receive each other's events through NATS: the stream is the same, also while NATS is unavailable.

use std::time::Duration;

use async_nats::jetstream;
use parley_proto::subscribe_request::Start;

use crate::support::{
    app::TestApp,
    chain::assert_dense,
    database::Backend,
    in_time,
    nats::Nats,
    reader::{Reader, event, everything, log_info},
};

async fn start(nats: &Nats) -> TestApp {
    TestApp::builder(Backend::Postgres)
        .replicas(1)
        .env("PARLEY_NATS_URL", &nats.url())
        // Polling is so rare that it delivers nothing, except where no other path is left.
        .env("PARLEY_EVENTS_POLL_INTERVAL_MILLISECONDS", "60000")
        .start()
        .await
}

/// The number of messages that JetStream has stored.
async fn stored(nats: &Nats) -> u64 {
    let client = async_nats::connect(nats.url()).await.expect("NATS is there");
    let jetstream = jetstream::new(client);
    let Ok(stream) = jetstream.get_stream(parley_eventlog::nats::STREAM).await else {
        return 0;
    };
    stream.get_info().await.expect("it tells").state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_receive_commits_over_nats() {
    let nats = Nats::start().await;
    let app = start(&nats).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let mut elsewhere = Reader::open(&app.clients_elsewhere(), everything(1, Start::Earliest(()))).await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut all = elsewhere.until(head).await;
    for index in 0..50 {
        fixture.hear(talk, &format!("message {index}")).await;
    }
    let head = log_info(&app.clients(), 1).await.head_seq;
    all.extend(in_time("the other replica's subscriber", elsewhere.until(head)).await);
    assert_dense(&all, 1);
    // Every event is stored once, under its id.
    in_time("JetStream", async {
        while stored(&nats).await < head - 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(stored(&nats).await <= head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_continues_through_a_nats_outage() {
    let mut nats = Nats::start().await;
    let app = start(&nats).await;
    let here = app.fixture();
    let there = here.through(app.clients_elsewhere());
    let talk = here.talk().await;
    let mut readers = [
        Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await,
        Reader::open(&app.clients_elsewhere(), everything(1, Start::Earliest(()))).await,
    ];
    let mut seen = [Vec::new(), Vec::new()];
    for phase in ["with it", "without it", "with it again"] {
        match phase {
            "without it" => nats.kill(),
            "with it again" => nats.start_again().await,
            _ => {}
        }
        // Both replicas write, so each must receive the other's events.
        for index in 0..20 {
            here.hear(talk, &format!("{phase} {index}")).await;
            there.hear(talk, &format!("{phase} {index}, there")).await;
        }
        let head = log_info(&app.clients(), 1).await.head_seq;
        for (reader, seen) in readers.iter_mut().zip(&mut seen) {
            seen.extend(in_time(phase, reader.until(head)).await);
        }
        // Long enough for the clients to notice that NATS is available again.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for seen in &seen {
        assert_dense(seen, 1);
        assert!(event(seen.last().expect("there are events")).seq >= 120);
    }
}
