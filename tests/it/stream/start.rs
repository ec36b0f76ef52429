//! Statements 8 and 10: bookmarks are true, and a stream can start anywhere.

use parley_proto::{EventFilter, EventKind, SubscribeRequest, subscribe_request::Start};
use prost_types::{Duration, Timestamp};
use tonic::Code;

use crate::support::{
    app::TestApp,
    chain::assert_dense,
    database::Backend,
    fault::fault,
    on_both,
    reader::{Reader, Taken, event, everything, filtered, log_info, whole_log},
};

on_both!(
    statement_08_bookmarks_cover_everything_before_them,
    statement_08_bookmarks_advance_when_nothing_matches,
    statement_08_heartbeat_interval_is_bounded,
    statement_10_stream_starts_anywhere,
    statement_10_stream_starts_at_a_time,
    statement_10_stream_starts_at_a_future_time
);

fn every_second(request: SubscribeRequest) -> SubscribeRequest {
    SubscribeRequest {
        heartbeat: Some(Duration { seconds: 1, nanos: 0 }),
        ..request
    }
}

async fn statement_08_bookmarks_cover_everything_before_them(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let conversation = fixture.talk().await;
    let filter = EventFilter {
        kinds: vec![EventKind::MessageCreated.into()],
        ..EventFilter::default()
    };
    let mut reader = Reader::open(&clients, every_second(filtered(1, Start::Earliest(()), filter.clone()))).await;
    let writer = tokio::spawn({
        let fixture = fixture.clone();
        async move {
            for index in 0..60 {
                fixture.hear(conversation, &format!("message {index}")).await;
            }
        }
    });
    let (mut sent, mut promises) = (Vec::new(), Vec::new());
    while sent.len() < 60 {
        match reader.take_any().await.expect("the stream goes on") {
            Taken::Event(delivery) => sent.push(event(&delivery).seq),
            Taken::Bookmark(bookmark) => promises.push((bookmark, sent.len())),
        }
    }
    writer.await.expect("the writer does not panic");
    let (_, last) = reader.until_bookmark().await;
    promises.push((last.clone(), sent.len()));

    let log = whole_log(&clients, 1).await;
    for (bookmark, count) in &promises {
        let matching = log
            .iter()
            .map(event)
            .filter(|event| event.kind() == EventKind::MessageCreated && event.seq <= bookmark.seq);
        assert_eq!(
            matching.count(),
            *count,
            "everything matching at or below {} had been sent",
            bookmark.seq
        );
        assert!(bookmark.seq <= bookmark.head_seq, "{bookmark:?}");
    }
    assert_eq!(last.seq, log.len() as u64, "once caught up, a bookmark stands at the head");

    let next = fixture.hear(conversation, "after the bookmark").await;
    let mut resumed = Reader::open(&clients, filtered(1, Start::After(last.cursor), filter)).await;
    let delivery = resumed.next().await;
    let message = crate::support::told::Told::message(event(&delivery)).and_then(|told| told.message.clone());
    assert_eq!(
        message.expect("a message").id,
        next.id,
        "a bookmark's cursor resumes with what came after it"
    );
}

async fn statement_08_bookmarks_advance_when_nothing_matches(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let nothing = EventFilter {
        conversation_ids: vec![999_999],
        ..EventFilter::default()
    };
    let mut reader = Reader::open(&clients, every_second(filtered(1, Start::Earliest(()), nothing))).await;
    let (events, first) = reader.until_bookmark().await;
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(first.seq, log_info(&clients, 1).await.head_seq, "catching up ends with a bookmark");

    let conversation = fixture.talk().await;
    fixture.hear(conversation, "not for this reader").await;
    let info = log_info(&clients, 1).await;
    let events = reader.until(info.head_seq).await;
    assert!(
        events.is_empty(),
        "the filter lets nothing through, and the cursor moves all the same: {events:?}"
    );
    assert_eq!(reader.cursor, Some(info.head_cursor), "a bookmark's cursor is that of its place");
}

async fn statement_08_heartbeat_interval_is_bounded(backend: Backend) {
    let app = TestApp::start(backend).await;
    for seconds in [-1, 0, 61] {
        let request = SubscribeRequest {
            heartbeat: Some(Duration { seconds, nanos: 0 }),
            ..everything(1, Start::Latest(()))
        };
        let status = Reader::refusal(&app.clients(), request).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{seconds} s: {status:?}");
        assert!(fault(&status).fields.contains("heartbeat: OUT_OF_RANGE"), "{seconds} s: {status:?}");
    }
}

async fn statement_10_stream_starts_anywhere(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "before").await;
    let info = log_info(&clients, 1).await;
    assert_eq!(info.earliest_seq, 1);
    assert_eq!(info.epoch.len(), 8);
    assert!(info.epoch.chars().all(|digit| digit.is_ascii_hexdigit()), "{}", info.epoch);

    let head = info.head_seq;
    let mut earliest = Reader::open(&clients, everything(1, Start::Earliest(()))).await;
    assert_dense(&earliest.until(head).await, info.earliest_seq);
    let absent = SubscribeRequest {
        account_id: 1,
        ..SubscribeRequest::default()
    };
    let starts = [
        everything(1, Start::Latest(())),
        absent,
        everything(1, Start::After(info.head_cursor)),
    ];
    let mut readers = Vec::new();
    for start in starts {
        readers.push(Reader::open(&clients, start).await);
    }
    fixture.hear(conversation, "what comes next").await;
    let now = log_info(&clients, 1).await.head_seq;
    for reader in &mut readers {
        assert_dense(&reader.until(now).await, head + 1);
    }
}

async fn statement_10_stream_starts_at_a_time(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let conversation = fixture.talk().await;
    for index in 0..5 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let log = whole_log(&clients, 1).await;
    let time = |event: &parley_proto::Event| {
        let time = event.occurred_at.expect("always set");
        (time.seconds, time.nanos)
    };
    for delivery in &log {
        let at = event(delivery).occurred_at.expect("always set");
        let first = log
            .iter()
            .map(event)
            .find(|event| time(event) >= (at.seconds, at.nanos))
            .expect("itself at least");
        let mut reader = Reader::open(&clients, everything(1, Start::At(at))).await;
        assert_eq!(event(&reader.next().await).seq, first.seq, "the first event at or after {at}");
    }
    let mut beginning = Reader::open(&clients, everything(1, Start::At(Timestamp { seconds: 0, nanos: 0 }))).await;
    assert_dense(&beginning.until(log.len() as u64).await, 1);

    let future = Timestamp {
        seconds: time(event(&log[0])).0 + 3_600,
        nanos: 0,
    };
    let mut later = Reader::open(&clients, every_second(everything(1, Start::At(future)))).await;
    let (events, bookmark) = later.until_bookmark().await;
    assert!(events.is_empty(), "nothing happened in an hour yet: {events:?}");
    assert_eq!(bookmark.seq, log.len() as u64);
}

async fn statement_10_stream_starts_at_a_future_time(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let time = chrono::Utc::now() + chrono::Duration::seconds(2);
    let at = Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).expect("below a second"),
    };
    let mut reader = Reader::open(&app.clients(), every_second(everything(1, Start::At(at)))).await;
    fixture.hear(conversation, "too early").await;
    let (given, bookmark) = reader.until_bookmark().await;
    assert_eq!(given, [], "nothing before the time: {bookmark:?}");
    tokio::time::sleep((time - chrono::Utc::now()).to_std().unwrap_or_default()).await;
    let message = fixture.hear(conversation, "in time").await;
    let first = reader.next().await;
    let wanted = whole_log(&app.clients(), 1).await.into_iter().find(|delivery| {
        matches!(&event(delivery).resource, Some(parley_proto::event::Resource::Message(told)) if told.message.as_ref().is_some_and(|told| told.id == message.id))
    });
    assert_eq!(Some(event(&first)), wanted.as_ref().map(event));
}
