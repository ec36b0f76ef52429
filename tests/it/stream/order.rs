//! Statements 1 to 3: ordered, dense, unique.

use std::collections::BTreeMap;

use parley_proto::{EventFilter, EventKind, SubscribeRequest, subscribe_request::Start};

use crate::support::{
    api_fixture::{ApiFixture, incoming, note, outgoing},
    app::TestApp,
    chain::{assert_dense, assert_filtered},
    database::Backend,
    on_both,
    reader::{Reader, event, everything, filtered, log_info, whole_log},
    told::Told as _,
};

on_both!(
    statement_01_events_are_ordered,
    statement_02_sequence_numbers_are_dense,
    statement_02_filtered_stream_names_the_previous_match,
    statement_03_event_ids_are_unique
);

/// Concurrent writers, each in its own conversation. Returns the message ids of each writer in the order of the responses.
async fn traffic(fixture: &ApiFixture, writers: usize, messages: usize) -> Vec<Vec<i64>> {
    let mut conversations = Vec::new();
    for _ in 0..writers {
        conversations.push(fixture.talk().await);
    }
    let mut tasks = Vec::new();
    for conversation in conversations {
        let fixture = fixture.clone();
        tasks.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for index in 0..messages {
                let text = format!("message {index}");
                let draft = match index % 3 {
                    0 => incoming(&text),
                    1 => outgoing(&text),
                    _ => note(&text),
                };
                ids.push(fixture.sent(conversation, draft).await.0.id);
            }
            ids
        }));
    }
    let mut written = Vec::new();
    for task in tasks {
        written.push(task.await.expect("the writer does not panic"));
    }
    written
}

async fn statement_01_events_are_ordered(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let mut live = Reader::open(&clients, everything(1, Start::Latest(()))).await;
    let written = traffic(&fixture, 8, 24).await;
    let head = log_info(&clients, 1).await.head_seq;
    let events = live.until(head).await;
    let seqs: Vec<u64> = events.iter().map(|delivery| event(delivery).seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "seq rises strictly: {seqs:?}");

    let place: BTreeMap<i64, u64> = events
        .iter()
        .map(event)
        .filter(|event| event.kind() == EventKind::MessageCreated)
        .map(|event| {
            (
                event.message().and_then(|told| told.message.as_ref()).expect("a message").id,
                event.seq,
            )
        })
        .collect();
    assert_eq!(place.len(), 8 * 24, "each message has one event");
    for ids in written {
        let seqs: Vec<u64> = ids.iter().map(|id| place[id]).collect();
        assert!(
            seqs.is_sorted_by(|a, b| a < b),
            "what was answered before the next was sent comes before it: {seqs:?}"
        );
    }
}

async fn statement_02_sequence_numbers_are_dense(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let mut live = Reader::open(&clients, everything(1, Start::Earliest(()))).await;
    traffic(&app.fixture(), 6, 20).await;
    let log = whole_log(&clients, 1).await;
    assert_dense(&log, 1);
    assert_eq!(
        log.len() as u64,
        log_info(&clients, 1).await.head_seq,
        "count(*) is the difference of two seqs"
    );
    assert_eq!(live.until(log.len() as u64).await, log, "live and replayed are the same");

    let mut numbers: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for event in log.iter().map(event).filter(|event| event.kind() == EventKind::MessageCreated) {
        let message = event.message().and_then(|told| told.message.as_ref()).expect("a message");
        numbers.entry(message.conversation_id).or_default().push(message.number);
    }
    for (conversation, numbers) in numbers {
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(
            numbers, expected,
            "messages of conversation {conversation} are numbered without a hole"
        );
    }
}

async fn statement_02_filtered_stream_names_the_previous_match(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    traffic(&fixture, 3, 9).await;
    let subscription = |start: Start| -> SubscribeRequest {
        let filter = EventFilter {
            kinds: vec![EventKind::MessageCreated.into()],
            conversation_ids: vec![1, 3],
            ..EventFilter::default()
        };
        filtered(1, start, filter)
    };
    let matches = |event: &parley_proto::Event| event.kind() == EventKind::MessageCreated && matches!(event.conversation_id(), Some(1 | 3));

    let log = whole_log(&clients, 1).await;
    let last = |log: &[parley_proto::EventDelivery]| log.iter().map(event).filter(|event| matches(event)).last().map(|event| event.seq);
    let mut replayed = Reader::open(&clients, subscription(Start::Earliest(()))).await;
    let events = replayed.until(last(&log).expect("something matches")).await;
    assert_filtered(&events, &log, 0, matches);

    // The chain includes events that another stream received: `prev_seq` of the first event after a cursor names an event that this stream
    // never received.
    let middle = &events[events.len() / 2];
    let mut resumed = Reader::open(&clients, subscription(Start::After(middle.cursor.clone()))).await;
    let rest = resumed.until(last(&log).expect("something matches")).await;
    assert_filtered(&rest, &log, event(middle).seq, matches);

    let mut live = Reader::open(&clients, subscription(Start::Latest(()))).await;
    let before = log.len() as u64;
    for text in ["one", "two", "three"] {
        fixture.hear(2, text).await;
        fixture.hear(1, text).await;
        fixture.say(3, text).await;
    }
    let log = whole_log(&clients, 1).await;
    let events = live.until(last(&log).expect("something matches")).await;
    assert_filtered(&events, &log, before, matches);
}

async fn statement_03_event_ids_are_unique(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..10 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let log = whole_log(&app.clients(), 1).await;
    // Uniqueness within a stream is part of density.
    assert_dense(&log, 1);

    app.crash_and_restart().await;
    let middle = log.len() / 2;
    let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(log[middle].cursor.clone()))).await;
    let rest = resumed.until(log.len() as u64).await;
    assert_eq!(rest, log[middle + 1..], "event_id is the same at every reading");
}
