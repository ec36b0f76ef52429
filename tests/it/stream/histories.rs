//! Statement 23: a cursor identifies one history. After a restore without `parley restored`, a failover that lost writes, or two servers on
//! copies of one database, the same sequence number belongs to a different event in each history.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parley_proto::{
    self as pb, ConsumeOpen, DeleteContactRequest, EventDelivery, EventFilter, EventKind, GetConversationRequest, ResetConsumerRequest,
    consume_open, reset_consumer_request, subscribe_request::Start,
};
use serde_json::Value as Json;
use tonic::{Request, metadata::MetadataValue};

use super::consume::consumer;
use crate::{
    backup::back_up_and_restore,
    support::{
        api_fixture::outgoing,
        app::TestApp,
        chain::assert_dense,
        consumer::{Session, plenty},
        database::{Backend, Database},
        fault::fault,
        in_time, on_both,
        reader::{Reader, event, everything, filtered, log_info, whole_log},
    },
};

on_both!(
    statement_23_cursor_of_another_history_is_refused,
    statement_23_copies_of_a_database_have_separate_histories,
    statement_23_consumer_continues_in_the_restored_history,
    statement_23_last_trimmed_event_is_remembered,
    statement_23_erased_event_keeps_its_identity,
    statement_23_one_position_has_one_cursor,
    cursors_have_no_marks_while_the_last_release_may_run
);

const EPOCH_CHANGED: &str = "EPOCH_CHANGED";

/// Writes until the log has at least this many events. Returns the head.
async fn write_to(app: &TestApp, talk: i64, seq: u64) -> u64 {
    let fixture = app.fixture();
    loop {
        let head = log_info(&app.clients(), 1).await.head_seq;
        if head >= seq {
            return head;
        }
        fixture.say(talk, &format!("after {head}, by {:x}", rand::random::<u32>())).await;
    }
}

async fn stop(app: &mut TestApp) {
    app.server.terminate();
    assert!(app.server.wait().await.success());
}

/// A filter that matches nothing in a conversation, so that a subscriber's position advances by bookmarks only.
fn nothing() -> EventFilter {
    EventFilter {
        kinds: vec![EventKind::TeamCreated.into()],
        ..EventFilter::default()
    }
}

/// Cursors of the head from different sources: a write, a delivery, bookmarks, and the log.
async fn cursors(app: &TestApp, talk: i64) -> (Vec<(&'static str, Bytes)>, u64) {
    let (_, written) = app.fixture().sent(talk, outgoing("the last one")).await;
    let info = log_info(&app.clients(), 1).await;
    let head = info.head_seq;
    let mut reader = Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await;
    let delivered = reader.until(head).await.pop().expect("an event").cursor;
    let bookmark = reader.until_bookmark().await.1;
    let mut reader = Reader::open(&app.clients(), filtered(1, Start::Earliest(()), nothing())).await;
    let between = reader.until_bookmark().await.1;
    let mut live = Reader::open(&app.clients(), filtered(1, Start::Latest(()), nothing())).await;
    let latest = live.until_bookmark().await.1;
    for bookmark in [&bookmark, &between, &latest] {
        assert_eq!(bookmark.seq, head);
    }
    let all = vec![
        ("a write", written),
        ("a delivery", delivered),
        ("a bookmark", bookmark.cursor),
        ("a bookmark between matches", between.cursor),
        ("a bookmark of a stream from now on", latest.cursor),
        ("GetLogInfo", info.head_cursor),
    ];
    (all, head)
}

/// The reason with which a subscription after a cursor is refused, or `None` if it opens.
async fn refused(app: &TestApp, cursor: &Bytes) -> Option<String> {
    let request = everything(1, Start::After(cursor.clone()));
    let opened = Reader::try_open(&app.clients(), request).await;
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(status) => return Some(fault(&status).reason),
    };
    reader.take_any().await.err().map(|status| fault(&status).reason)
}

fn ids(log: &[EventDelivery]) -> HashSet<String> {
    log.iter().map(|delivery| event(delivery).event_id.clone()).collect()
}

async fn statement_23_cursor_of_another_history_is_refused(backend: Backend) {
    for (is_on, switch) in [(true, ""), (false, "cursor_mark")] {
        let app = TestApp::start(backend).await;
        let talk = app.fixture().talk().await;
        write_to(&app, talk, 30).await;
        let (shared, backed_up) = cursors(&app, talk).await;
        let restored = back_up_and_restore(&app.database, backend).await;
        write_to(&app, talk, backed_up + 10).await;
        let (lost, head) = cursors(&app, talk).await;
        let lost_ids = ids(&whole_log(&app.clients(), 1).await[usize::try_from(backed_up).expect("small")..]);
        drop(app);

        // Nobody ran `parley restored`.
        let app = TestApp::builder(backend)
            .database(restored)
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        for (of, cursor) in &lost {
            assert_eq!(refused(&app, cursor).await.as_deref(), Some("CURSOR_AHEAD_OF_LOG"), "{of}");
        }
        write_to(&app, talk, head + 5).await;
        for (of, cursor) in &shared {
            let mut reader = Reader::open(&app.clients(), everything(1, Start::After(cursor.clone()))).await;
            assert_eq!(
                event(&reader.next().await).seq,
                backed_up + 1,
                "{of}: the histories share this event"
            );
        }
        for (of, cursor) in &lost {
            let expected = is_on.then_some(EPOCH_CHANGED);
            assert_eq!(refused(&app, cursor).await.as_deref(), expected, "{of}");
        }
        let log = whole_log(&app.clients(), 1).await;
        assert_dense(&log, 1);
        assert!(ids(&log).is_disjoint(&lost_ids), "no event_id of the lost history comes again");
        if is_on {
            every_call_refuses(&app, talk, &lost[0].1).await;
        }
    }
}

/// Every call that takes a cursor refuses one of another history.
async fn every_call_refuses(app: &TestApp, talk: i64, lost: &Bytes) {
    let clients = app.clients();
    let read = GetConversationRequest {
        account_id: 1,
        conversation_id: talk,
    };
    let mut read = Request::new(read);
    let value = MetadataValue::from_bytes(lost);
    read.metadata_mut().insert_bin("parley-min-cursor-bin", value);
    let status = clients.conversations.clone().get_conversation(read).await.expect_err("min cursor");
    assert_eq!(fault(&status).reason, EPOCH_CHANGED);

    let open = ConsumeOpen {
        start: Some(consume_open::Start::After(lost.clone())),
        ..plenty(1, "new")
    };
    let status = Session::try_open(&clients, open).await.expect_err("a new consumer");
    assert_eq!(fault(&status).reason, EPOCH_CHANGED);

    let mut session = Session::open(&clients, plenty(1, "worker")).await;
    session.until(log_info(&clients, 1).await.head_seq).await;
    let status = session.commit(lost).await.expect_err("a commit");
    assert_eq!(fault(&status).reason, EPOCH_CHANGED);
    assert_eq!(consumer(&clients, "worker").await.shards[0].seq, 0, "it moved nothing");

    let reset = ResetConsumerRequest {
        account_id: 1,
        name: "worker".to_owned(),
        start: Some(reset_consumer_request::Start::After(lost.clone())),
        ..ResetConsumerRequest::default()
    };
    let status = clients.consumers.clone().reset_consumer(reset).await.expect_err("a reset");
    assert_eq!(fault(&status).reason, EPOCH_CHANGED);

    let http = app.http();
    let text = URL_SAFE_NO_PAD.encode(lost);
    let requests = [
        http.request("GET", &format!("/api/v1/accounts/1/events?after={text}")),
        http.request("GET", &format!("/api/v1/accounts/1/events?from={text}")),
        http.request("GET", "/api/v1/accounts/1/events").header("last-event-id", &text),
    ];
    for request in requests {
        let answer = http.answer(request).await;
        assert_eq!((answer.status, &answer.body["reason"]), (410, &Json::from(EPOCH_CHANGED)));
    }
    let request = http
        .request("GET", "/api/v1/accounts/1/conversations")
        .header("parley-min-cursor", &text);
    assert_eq!(http.answer(request).await.status, 410);
}

async fn statement_23_copies_of_a_database_have_separate_histories(backend: Backend) {
    let mut one = TestApp::start(backend).await;
    let talk = one.fixture().talk().await;
    let shared = log_info(&one.clients(), 1).await.head_cursor;
    stop(&mut one).await;
    let copy = one.database.copy().await;
    one.start_again().await;
    let other = TestApp::builder(backend).database(copy).start().await;
    // Concurrently, so that neither the clock nor the order distinguishes the two.
    tokio::join!(write_to(&one, talk, 20), write_to(&other, talk, 20));
    let logs = [whole_log(&one.clients(), 1).await, whole_log(&other.clients(), 1).await];
    for (app, theirs) in [(&one, &logs[1]), (&other, &logs[0])] {
        assert_eq!(refused(app, &theirs[18].cursor).await.as_deref(), Some(EPOCH_CHANGED));
        assert_eq!(refused(app, &shared).await, None);
    }
    let both = ids(&logs[0]).intersection(&ids(&logs[1])).count() as u64;
    let mut reader = Reader::open(&one.clients(), everything(1, Start::Earliest(()))).await;
    let until_shared = reader.until(20).await;
    let common = until_shared
        .iter()
        .position(|delivery| delivery.cursor == shared)
        .expect("it is there") as u64
        + 1;
    assert_eq!(both, common, "what both have is what was there before the copy");
}

async fn statement_23_consumer_continues_in_the_restored_history(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let backed_up = write_to(&app, talk, 12).await;
    let mut session = Session::open(&app.clients(), plenty(1, "worker")).await;
    let first = session.until(backed_up).await;
    let done = &first[7];
    session.commit(&done.cursor).await.expect("it is stored");
    let restored = back_up_and_restore(&app.database, backend).await;
    let head = write_to(&app, talk, 25).await;
    let lost = session.until(head).await;
    let newest = &lost.last().expect("events").cursor;
    session.commit(newest).await.expect("it is stored");
    drop((session, app));

    let app = TestApp::builder(backend).database(restored).start().await;
    write_to(&app, talk, head + 5).await;
    let shard = consumer(&app.clients(), "worker").await;
    assert_eq!((shard.resumable, &shard.shards[0].cursor), (true, &done.cursor));
    // The consumer's position was restored with the log: it receives again what it had not committed at the time of the backup, and the
    // events that replaced the lost ones.
    let mut session = Session::open(&app.clients(), plenty(1, "worker")).await;
    assert_eq!(session.opened.cursor, done.cursor);
    let again = session.until(head + 5).await;
    assert_dense(&again, event(done).seq + 1);
    let known = ids(&lost);
    let new: Vec<_> = again.iter().filter(|delivery| event(delivery).seq > backed_up).collect();
    assert!(
        new.iter().all(|delivery| !known.contains(&event(delivery).event_id)),
        "a worker that keys effects by event_id does them"
    );
    let status = session.commit(newest).await.expect_err("it was given out in the lost history");
    assert_eq!(fault(&status).reason, EPOCH_CHANGED);
    let mut session = Session::open(&app.clients(), plenty(1, "worker")).await;
    let again = session.until(head + 5).await;
    let newest = &again.last().expect("events").cursor;
    assert_eq!(&session.commit(newest).await.expect("it is stored"), newest);
}

/// Makes all events except the newest write old enough to be trimmed, and waits until they are.
async fn trim(app: &TestApp) -> u64 {
    let log = whole_log(&app.clients(), 1).await;
    let last = event(log.last().expect("events")).transaction_id;
    let before = last - 1;
    app.database
        .run(&format!(
            "UPDATE events SET occurred_at = occurred_at - 864000000000 WHERE account_id = 1 AND seq <= {before}"
        ))
        .await;
    let url = app.database.url();
    in_time("trimming", async {
        while Database::number(&url, "SELECT CAST(coalesce(min(seq), 0) AS bigint) FROM events").await < last.cast_signed() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    before
}

async fn statement_23_last_trimmed_event_is_remembered(backend: Backend) {
    let start = |database: Option<Database>| {
        let builder = TestApp::builder(backend).env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1");
        match database {
            Some(database) => builder.database(database).start(),
            None => builder.start(),
        }
    };
    let mut app = start(None).await;
    let talk = app.fixture().talk().await;
    write_to(&app, talk, 8).await;
    stop(&mut app).await;
    let copy = app.database.copy().await;
    app.start_again().await;
    write_to(&app, talk, 15).await;
    let log = whole_log(&app.clients(), 1).await;
    let before = trim(&app).await;
    let at = usize::try_from(before - 1).expect("small");
    let edge = &log[at].cursor;
    let mut reader = Reader::open(&app.clients(), everything(1, Start::After(edge.clone()))).await;
    assert_eq!(
        event(&reader.next().await).seq,
        before + 1,
        "its event is gone, and everything after it is kept"
    );
    assert_eq!(refused(&app, &log[at - 1].cursor).await.as_deref(), Some("CURSOR_EXPIRED"));
    // So is the bookmark of a stream from the beginning without any match yet.
    let mut reader = Reader::open(&app.clients(), filtered(1, Start::Earliest(()), nothing())).await;
    let bookmark = reader.until_bookmark().await.1;
    assert_eq!(refused(&app, &bookmark.cursor).await, None);
    drop(app);

    // The same sequence numbers in another history.
    let other = start(Some(copy)).await;
    write_to(&other, talk, 15).await;
    assert_eq!(trim(&other).await, before);
    assert_eq!(refused(&other, edge).await.as_deref(), Some(EPOCH_CHANGED));
}

async fn statement_23_erased_event_keeps_its_identity(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
        .start()
        .await;
    let fixture = app.fixture();
    let asha = fixture.person("Asha Rao").await;
    let talk = fixture.conversation(&asha).await.id;
    fixture.hear(talk, "a secret of hers").await;
    let log = whole_log(&app.clients(), 1).await;
    let request = DeleteContactRequest {
        account_id: 1,
        contact_id: asha.contact,
        ..DeleteContactRequest::default()
    };
    app.clients().contacts.clone().delete_contact(request).await.expect("it is deleted");
    let url = app.database.url();
    // First as tombstones that are generated on read, then as rewritten rows.
    for _ in 0..2 {
        let erased = whole_log(&app.clients(), 1).await;
        for (before, after) in log.iter().zip(&erased) {
            assert_eq!((&before.cursor, &event(before).event_id), (&after.cursor, &event(after).event_id));
            assert_eq!(refused(&app, &before.cursor).await, None);
        }
        in_time("rewriting", async {
            while Database::number(&url, "SELECT CAST(count(*) AS bigint) FROM erasures WHERE NOT rewritten").await > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

/// The cursor of a position has the same bytes wherever it comes from, so clients may compare cursors.
async fn statement_23_one_position_has_one_cursor(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    write_to(&app, talk, 10).await;
    let (all, head) = cursors(&app, talk).await;
    for (of, cursor) in &all {
        assert_eq!(cursor, &all[0].1, "{of}");
    }
    // The cursor of a write that changes nothing is that of the head.
    let unmute = pb::UnmuteConversationRequest {
        account_id: 1,
        conversation_id: talk,
        ..pb::UnmuteConversationRequest::default()
    };
    let unchanged = app.clients().conversations.clone().unmute_conversation(unmute).await;
    let unchanged = unchanged.expect("it was never muted").into_inner().cursor;
    let mut session = Session::open(&app.clients(), plenty(1, "worker")).await;
    let events = session.until(head).await;
    let committed = session.commit(&events[4].cursor).await.expect("it is stored");
    assert_eq!(committed, events[4].cursor);
    session.commit(&events[6].cursor).await.expect("it is stored");
    let farther = session.commit(&events[2].cursor).await.expect("an earlier one");
    assert_eq!(farther, events[6].cursor, "what is stored already");
    assert_eq!(consumer(&app.clients(), "worker").await.shards[0].cursor, events[6].cursor);
    let log = whole_log(&app.clients(), 1).await;
    let at = |seq: u64| &log[usize::try_from(seq - 1).expect("small")].cursor;
    assert_eq!(&unchanged, at(log_info(&app.clients(), 1).await.head_seq));
    let since = event(&log[4]).occurred_at.expect("always set");
    let mut reader = Reader::open(&app.clients(), filtered(1, Start::At(since), nothing())).await;
    let bookmark = reader.until_bookmark().await.1;
    assert_eq!(&bookmark.cursor, at(bookmark.seq));
}

/// The size of a cursor's mark in bytes.
const MARK: usize = 6;

/// Programs from before cursor marks refuse cursors that have one. While such a program may run on the database, no marks are issued.
async fn cursors_have_no_marks_while_the_last_release_may_run(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let marked = log_info(&app.clients(), 1).await.head_cursor;
    let seq = log_info(&app.clients(), 1).await.head_seq;
    stop(&mut app).await;
    // What the migration records in a database with existing data: here, an hour ago.
    let hour = 3_600_000_000_i64;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let ago = i64::try_from(now.as_micros()).expect("before 2262") - hour;
    app.database
        .run(&format!("INSERT INTO cursor_marks (id, migrated_at) VALUES (1, {ago})"))
        .await;
    let copy = app.database.copy().await;
    app.start_again().await;
    let unmarked = log_info(&app.clients(), 1).await.head_cursor;
    assert_eq!((marked[0], unmarked[0]), (2, 1), "their forms");
    assert_eq!(unmarked.len() + MARK, marked.len());
    write_to(&app, talk, seq + 5).await;
    for cursor in [&marked, &unmarked] {
        let mut reader = Reader::open(&app.clients(), everything(1, Start::After(cursor.clone()))).await;
        let next = reader.next().await;
        assert_eq!((event(&next).seq, next.cursor[0]), (seq + 1, 1));
    }
    let unmarked = whole_log(&app.clients(), 1).await;
    drop(app);

    // A day later, or once the operator declares that no older program runs.
    let app = TestApp::builder(backend)
        .database(copy)
        .env("PARLEY_EVENTS_CURSOR_MARKS_AFTER_HOURS", "1")
        .start()
        .await;
    assert_eq!(log_info(&app.clients(), 1).await.head_cursor, marked);
    let head = write_to(&app, talk, seq + 5).await;
    let log = whole_log(&app.clients(), 1).await;
    assert!(log.iter().all(|delivery| delivery.cursor[0] == 2));
    // A cursor without a mark is still accepted for its sequence number.
    let at = usize::try_from(seq).expect("small");
    let mut reader = Reader::open(&app.clients(), everything(1, Start::After(unmarked[at].cursor.clone()))).await;
    let events = reader.until(head).await;
    assert_eq!(events[0].cursor, log[at + 1].cursor);
}
