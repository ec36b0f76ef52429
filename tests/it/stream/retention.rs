//! Statement 17: which events are kept, for how long, and how readers learn that events were trimmed.

use parley_proto::{ConsumeOpen, subscribe_request::Start};
use tonic::Code;

use super::consume::consumer;
use crate::support::{
    app::TestApp,
    chain::assert_whole_writes,
    consumer::{Session, plenty},
    database::Backend,
    fault::fault,
    in_time, on_both,
    reader::{Reader, event, everything, filtered, log_info, whole_log},
};

on_both!(
    statement_17_trimming_removes_whole_writes,
    statement_17_durable_consumer_retains_the_log_up_to_a_cap,
    statement_17_reader_overtaken_by_trimming_is_refused
);

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

async fn start(backend: Backend) -> TestApp {
    TestApp::builder(backend)
        .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
        .start()
        .await
}

/// Makes events at or below a sequence number older.
async fn age(app: &TestApp, seq: u64, days: i64) {
    let by = days * DAY;
    app.database
        .run(&format!(
            "UPDATE events SET occurred_at = occurred_at - {by} WHERE account_id = 1 AND seq <= {seq}"
        ))
        .await;
}

/// Waits until the log begins at this sequence number.
async fn begins_at(app: &TestApp, seq: u64) {
    in_time("trimming", async {
        while log_info(&app.clients(), 1).await.earliest_seq < seq {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(log_info(&app.clients(), 1).await.earliest_seq, seq);
}

async fn statement_17_trimming_removes_whole_writes(backend: Backend) {
    let app = start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..10 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let log = whole_log(&app.clients(), 1).await;
    assert_eq!(
        log_info(&app.clients(), 1).await.retention.expect("it is told").seconds,
        7 * 24 * 3600
    );
    // The retention limit falls into the middle of a write with several events: the whole write is kept.
    let inside = log
        .iter()
        .map(event)
        .rfind(|event| event.transaction_id < event.seq)
        .expect("a message changes its conversation too");
    age(&app, inside.seq - 1, 8).await;
    begins_at(&app, inside.transaction_id).await;
    let rest = whole_log(&app.clients(), 1).await;
    assert_eq!(event(&rest[0]).seq, inside.transaction_id);
    assert_eq!(
        rest.len(),
        log.len() + 1 - usize::try_from(inside.transaction_id).expect("it is small")
    );
    assert_whole_writes(&rest);

    let lost = log[1].cursor.clone();
    let status = Reader::refusal(&app.clients(), everything(1, Start::After(lost))).await;
    let fault = fault(&status);
    assert_eq!((fault.code, fault.reason.as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
    assert_eq!(fault.metadata["earliest_seq"], inside.transaction_id.to_string());
    assert_eq!(fault.metadata["head_seq"], log.len().to_string());
}

async fn statement_17_durable_consumer_retains_the_log_up_to_a_cap(backend: Backend) {
    let app = start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..10 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let mut session = Session::open(&app.clients(), plenty(1, "slow")).await;
    let log = whole_log(&app.clients(), 1).await;
    let head = log.len() as u64;
    session.until(head).await;
    // The end of a write, so that the log may begin right after it.
    let kept = log
        .iter()
        .filter(|delivery| event(delivery).transaction_end && event(delivery).seq > 3)
        .nth(1)
        .expect("there are writes");
    session.commit(&kept.cursor).await.expect("it is stored");
    drop(session);
    age(&app, head, 8).await;
    begins_at(&app, event(kept).seq + 1).await;
    let mut session = Session::open(&app.clients(), plenty(1, "slow")).await;
    assert_eq!(session.until(head).await.len() as u64, head - event(kept).seq);
    assert!(consumer(&app.clients(), "slow").await.resumable);
    drop(session);

    // Beyond the cap the consumer no longer holds back trimming, and its next session is refused with a reason.
    age(&app, head, 7).await;
    begins_at(&app, head + 1).await;
    let status = Session::try_open(&app.clients(), plenty(1, "slow"))
        .await
        .expect_err("its place is gone");
    let refused = fault(&status);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
    assert!(!consumer(&app.clients(), "slow").await.resumable);
    // A new consumer is not affected by trimmed events.
    Session::open(&app.clients(), ConsumeOpen { ..plenty(1, "fresh") }).await;
}

async fn statement_17_reader_overtaken_by_trimming_is_refused(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
        // Pages and frames of a few events and no tail in memory, so that the reader reads from the log in small steps.
        .env("PARLEY_EVENTS_PAGE_EVENTS", "3")
        .env("PARLEY_EVENTS_FRAME_BYTES", "1024")
        .env("PARLEY_EVENTS_TAIL_EVENTS", "1")
        .start()
        .await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..300 {
        fixture.hear(conversation, &format!("{index} {}", "x".repeat(20_000))).await;
    }
    let head = log_info(&app.clients(), 1).await.head_seq;
    let messages = parley_proto::EventFilter {
        kinds: vec![parley_proto::EventKind::MessageCreated.into()],
        ..parley_proto::EventFilter::default()
    };
    // One reader with a filter, whose sequence numbers have gaps anyway, and one without.
    let mut readers = [
        Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await,
        Reader::open(&app.clients(), filtered(1, Start::Earliest(()), messages)).await,
    ];
    let mut last = Vec::new();
    for reader in &mut readers {
        last.push(event(&reader.next().await).seq);
    }
    age(&app, head - 2, 8).await;
    in_time("trimming", async {
        while log_info(&app.clients(), 1).await.earliest_seq < 500 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    for (reader, mut last) in readers.iter_mut().zip(last) {
        // Events in transit still arrive without a gap. Then the reader is refused, and never skips trimmed events silently.
        let (rest, status) = reader.until_the_end().await;
        for delivery in &rest {
            assert_eq!(delivery.prev_seq, last);
            last = event(delivery).seq;
        }
        let told = fault(&status);
        assert_eq!(
            (told.code, told.reason.as_str()),
            (Code::OutOfRange, "CURSOR_EXPIRED"),
            "{status:?}"
        );
        assert!(last < head - 2);
    }
}
