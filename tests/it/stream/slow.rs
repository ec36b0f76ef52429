//! Statement 15: a slow reader is never disconnected while its position is kept, and nobody waits for it.

use parley_proto::{BatchCreateMessagesRequest, BatchMessage, subscribe_request::Start};

use crate::support::{
    api_fixture::outgoing,
    app::TestApp,
    chain::{assert_dense, assert_whole_writes},
    database::Backend,
    on_both,
    reader::{Reader, everything, filtered, log_info},
};

on_both!(statement_15_slow_reader_misses_nothing, statement_14_pages_are_limited_by_bytes);

/// More than flow-control windows, buffers and the tail in memory hold together.
const MESSAGES: usize = 5_000;

async fn statement_15_slow_reader_misses_nothing(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let conversation = fixture.talk().await;
    let start = log_info(&clients, 1).await.head_seq;
    // Reads nothing while everything below happens. It has its own connection, so that it does not block the window of another stream.
    let mut slow = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;
    let mut quick = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;

    let text = "x".repeat(1_500);
    let writer = tokio::spawn(async move {
        for _ in 0..MESSAGES / 250 {
            let request = BatchCreateMessagesRequest {
                account_id: 1,
                messages: (0..250)
                    .map(|_| BatchMessage {
                        conversation_id: conversation,
                        message: Some(outgoing(&text)),
                    })
                    .collect(),
                ..BatchCreateMessagesRequest::default()
            };
            clients
                .messages
                .clone()
                .batch_create_messages(request)
                .await
                .expect("writers do not wait for readers");
        }
        log_info(&clients, 1).await.head_seq
    });
    let head = writer.await.expect("the writer does not panic");
    assert!(head - start >= MESSAGES as u64);
    let seen = quick.until(head).await;
    assert_dense(&seen, start + 1);
    assert_eq!(
        seen.len() as u64,
        head - start,
        "another reader has everything while the slow one has taken nothing"
    );

    let seen = slow.until(head).await;
    assert_dense(&seen, start + 1);
    assert_whole_writes(&seen);
    assert_eq!(seen.len() as u64, head - start, "the slow reader misses nothing");
    // Back at the head, the reader receives live events.
    fixture.say(conversation, "hello again").await;
    assert_dense(&slow.take(1).await, head + 1);
}

/// Small and large messages in turn: a reader that catches up receives pages limited by bytes, and no message is omitted at a page
/// boundary.
async fn statement_14_pages_are_limited_by_bytes(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_TAIL_BYTES", "65536")
        .env("PARLEY_EVENTS_FRAME_BYTES", "65536")
        .start()
        .await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let conversation = fixture.talk().await;
    for size in [10, 60_000, 140_000, 20, 65_536, 1_000] {
        for _ in 0..8 {
            fixture.say(conversation, &"x".repeat(size)).await;
        }
    }
    let head = log_info(&clients, 1).await.head_seq;
    let mut late = Reader::open(&clients, everything(1, Start::Earliest(()))).await;
    let seen = late.until(head).await;
    assert_dense(&seen, 1);
    assert_eq!(seen.len() as u64, head);
    assert_whole_writes(&seen);
    // The same with a filter, which drops most rows of a page.
    let created = parley_proto::EventFilter {
        kinds: vec![parley_proto::EventKind::MessageCreated.into()],
        ..Default::default()
    };
    let mut late = Reader::open(&clients, filtered(1, Start::Earliest(()), created)).await;
    assert_eq!(late.until(head).await.len(), 48);
}
