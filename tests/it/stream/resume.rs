//! Statements 6 and 7: a cursor resumes with the very next event, or is refused with a reason.

use bytes::Bytes;
use parley_proto::{CreateAccountRequest, EventFilter, subscribe_request::Start};
use tonic::Code;

use crate::support::{
    api_fixture::incoming,
    app::TestApp,
    chain::assert_dense,
    database::Backend,
    fault::fault,
    on_both,
    reader::{Reader, event, everything, filtered, log_info, whole_log},
    told::Told as _,
};

on_both!(
    statement_06_cursor_resumes_with_the_next_event,
    statement_06_cursor_of_another_account_is_refused,
    statement_07_cursor_ahead_of_the_log_is_refused,
    statement_07_cursor_of_another_epoch_is_refused
);

async fn statement_06_cursor_resumes_with_the_next_event(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut reader = Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await;
    for index in 0..12 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    // The stream is interrupted every few events: first by the client, then by a crash, then by a restart.
    let mut all = reader.take(2).await;
    drop(reader);
    let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(all[1].cursor.clone()))).await;
    all.extend(resumed.take(3).await);
    app.crash_and_restart().await;
    let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(all[4].cursor.clone()))).await;
    all.extend(resumed.take(3).await);
    app.restart().await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(all[7].cursor.clone()))).await;
    all.extend(resumed.until(head).await);
    assert_dense(&all, 1);
    assert_eq!(all.len() as u64, head);

    // The cursor of a reply is a position like any other.
    let fixture = app.fixture();
    let (_, cursor) = fixture.sent(conversation, incoming("read your writes")).await;
    let next = fixture.hear(conversation, "the one after").await;
    let mut resumed = Reader::open(&app.clients(), everything(1, Start::After(cursor))).await;
    let delivery = resumed.next().await;
    let told = event(&delivery);
    assert_eq!(told.seq, told.transaction_id, "a reply's cursor stands at the end of its write");
    let message = told.message().and_then(|told| told.message.clone());
    assert_eq!(message.expect("message.created comes first").id, next.id);
}

async fn statement_06_cursor_of_another_account_is_refused(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let made = app
        .platform()
        .accounts
        .clone()
        .create_account(CreateAccountRequest {
            name: "Other".to_owned(),
            ..CreateAccountRequest::default()
        })
        .await
        .expect("the account is made")
        .into_inner();
    let status = Reader::refusal(&app.clients(), everything(1, Start::After(made.cursor))).await;
    assert_eq!(
        (status.code(), fault(&status).reason.as_str()),
        (Code::PermissionDenied, "CURSOR_OF_ANOTHER_ACCOUNT")
    );

    let good = log_info(&app.clients(), 1).await.head_cursor;
    let mut flipped = good.to_vec();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let (short, long) = (good.slice(..good.len() - 1), [&good[..], &[0]].concat());
    for malformed in [Bytes::new(), Bytes::from_static(b"cursor"), short, long.into(), flipped.into()] {
        let status = Reader::refusal(&app.clients(), everything(1, Start::After(malformed.clone()))).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{malformed:?}: {status:?}");
        let fault = fault(&status);
        assert!(fault.fields.iter().all(|field| field.starts_with("after: ")), "{fault:?}");
        assert_eq!(fault.fields.len(), 1, "{fault:?}");
    }
}

async fn statement_07_cursor_ahead_of_the_log_is_refused(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let conversation = app.fixture().talk().await;
    app.server.terminate();
    app.server.wait().await;
    let older = app.database.copy().await;
    app.start_again().await;
    let (_, cursor) = app.fixture().sent(conversation, incoming("lost by the restore")).await;
    app.server.terminate();
    app.server.wait().await;

    let restored = TestApp::builder(backend).database(older).start().await;
    let info = log_info(&restored.clients(), 1).await;
    // With a filter too, which must not hide the position.
    let nothing = EventFilter {
        conversation_ids: vec![999_999],
        ..EventFilter::default()
    };
    for request in [
        everything(1, Start::After(cursor.clone())),
        filtered(1, Start::After(cursor.clone()), nothing),
    ] {
        let status = Reader::refusal(&restored.clients(), request).await;
        let fault = fault(&status);
        assert_eq!(
            (fault.code, fault.reason.as_str()),
            (Code::OutOfRange, "CURSOR_AHEAD_OF_LOG"),
            "{status:?}"
        );
        assert_eq!(fault.metadata["head_seq"], info.head_seq.to_string());
        assert_eq!(fault.metadata["earliest_seq"], info.earliest_seq.to_string());
        assert_eq!(fault.metadata["epoch"], info.epoch);
    }
}

async fn statement_07_cursor_of_another_epoch_is_refused(backend: Backend) {
    let (one, other) = (TestApp::start(backend).await, TestApp::start(backend).await);
    let (epoch, cursor) = {
        let info = log_info(&one.clients(), 1).await;
        (info.epoch, info.head_cursor)
    };
    let info = log_info(&other.clients(), 1).await;
    assert_ne!(info.epoch, epoch, "two databases have two histories");
    let status = Reader::refusal(&other.clients(), everything(1, Start::After(cursor))).await;
    let fault = fault(&status);
    assert_eq!(
        (fault.code, fault.reason.as_str()),
        (Code::OutOfRange, "EPOCH_CHANGED"),
        "{status:?}"
    );
    assert_eq!(fault.metadata["epoch"], info.epoch);
    assert_eq!(fault.metadata["head_seq"], info.head_seq.to_string());
    // The client recovers by reading from the start.
    assert_dense(&whole_log(&other.clients(), 1).await, info.earliest_seq);
}
