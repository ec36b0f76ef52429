//! The same log as Server-Sent Events: the same cursors, order and refusals.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use parley_proto::subscribe_request::Start;
use serde_json::Value as Json;

use crate::support::{
    app::TestApp,
    database::Backend,
    http::Http,
    in_time, on_both,
    reader::{Reader, event, everything, log_info, whole_log},
};

on_both!(
    events_are_delivered_as_server_sent_events,
    reconnecting_client_resumes_with_the_next_event,
    unresumable_position_returns_410_gone,
    drain_sends_a_retry_delay,
    stream_resumes_from_the_cursor_of_a_write
);

/// One event as a browser parses it.
#[derive(Debug, Default, Clone)]
struct Sent {
    id: Option<String>,
    event: Option<String>,
    data: Option<Json>,
    retry: Option<u64>,
    comment: bool,
}

/// A stream of Server-Sent Events.
struct Stream {
    response: reqwest::Response,
    rest: String,
}

impl Stream {
    async fn open(http: &Http, query: &str, last_event_id: Option<&str>) -> Self {
        let request = http.request("GET", &format!("/api/v1/accounts/1/events{query}"));
        let request = match last_event_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let response = in_time("the stream", request.send()).await.expect("it is answered");
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            rest: String::new(),
        }
    }

    /// The next event or comment, or `None` at the end.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((whole, rest)) = self.rest.split_once("\n\n") {
                let mut sent = Sent::default();
                for line in whole.lines() {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    match name {
                        "" => sent.comment = true,
                        "id" => sent.id = Some(value.to_owned()),
                        "event" => sent.event = Some(value.to_owned()),
                        "data" => sent.data = Some(serde_json::from_str(value).expect("data is JSON")),
                        "retry" => sent.retry = value.parse().ok(),
                        other => panic!("not a field of an event: {other}"),
                    }
                }
                let rest = rest.to_owned();
                self.rest = rest;
                return Some(sent);
            }
            let chunk = in_time("more of the stream", self.response.chunk()).await.expect("it arrives")?;
            self.rest.push_str(std::str::from_utf8(&chunk).expect("it is text"));
        }
    }

    /// The events up to the one with this sequence number.
    async fn until(&mut self, seq: u64) -> Vec<Sent> {
        let mut events = Vec::new();
        loop {
            let sent = self.next().await.expect("the stream goes on");
            if let Some(data) = &sent.data {
                let at = data["seq"].as_u64();
                events.push(sent);
                if at == Some(seq) {
                    return events;
                }
            }
        }
    }
}

async fn events_are_delivered_as_server_sent_events(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    fixture.hear(talk, "Where is my parcel?").await;
    let log = whole_log(&app.clients(), 1).await;
    let head = log.len() as u64;
    let mut stream = Stream::open(&app.http(), "?start=earliest&heartbeat=1", None).await;
    let events = stream.until(head).await;
    assert_eq!(events.len(), log.len());
    for (sent, delivery) in events.iter().zip(&log) {
        let told = event(delivery);
        assert_eq!(sent.event.as_deref(), Some(told.kind_name.as_str()));
        assert_eq!(
            sent.id.as_deref(),
            Some(URL_SAFE_NO_PAD.encode(&delivery.cursor).as_str()),
            "the id is the cursor"
        );
        let data = sent.data.as_ref().expect("an event has data");
        assert_eq!(
            (data["seq"].as_u64(), data["prev_seq"].as_u64()),
            (Some(told.seq), Some(delivery.prev_seq))
        );
        assert_eq!(data["event_id"], told.event_id.as_str());
    }
    let message = events
        .iter()
        .find(|sent| sent.event.as_deref() == Some("message.created"))
        .expect("it was told");
    assert_eq!(
        message.data.as_ref().expect("data")["resource"]["message"]["content"],
        "Where is my parcel?"
    );
    // A bookmark updates the id without an event.
    let bookmark = stream.next().await.expect("the stream goes on");
    assert!(bookmark.comment && bookmark.data.is_none());
    assert_eq!(bookmark.id, events.last().expect("there are events").id);

    // Filters, and a live event.
    let mut stream = Stream::open(
        &app.http(),
        "?kinds=message.created,contact.created&message_types=incoming&start=latest",
        None,
    )
    .await;
    stream.next().await;
    fixture.say(talk, "On its way").await;
    fixture.hear(talk, "Thanks").await;
    let sent = loop {
        let sent = stream.next().await.expect("the stream goes on");
        if sent.data.is_some() {
            break sent;
        }
    };
    assert_eq!(sent.data.expect("data")["resource"]["message"]["content"], "Thanks");
    // A snapshot first.
    let mut stream = Stream::open(&app.http(), "?start=snapshot", None).await;
    let mut upserts = 0;
    loop {
        let sent = stream.next().await.expect("the stream goes on");
        match sent.event.as_deref() {
            Some("upsert") => upserts += 1,
            Some("snapshot_complete") => {
                assert_eq!(sent.data.expect("data")["count"], upserts);
                assert!(upserts >= 4 && sent.id.is_some());
                break;
            }
            other => panic!("{other:?} before the snapshot was complete"),
        }
    }
    for (query, field) in [
        ("?kinds=message.exploded", "kinds"),
        ("?inbox_ids=1,x", "inbox_ids"),
        ("?after=!", "after"),
        ("?start=middle", "start"),
        ("?heartbeat=61", "heartbeat"),
    ] {
        let (status, body) = app.http().ask(&format!("/events{query}")).await;
        assert_eq!(status, 422, "{query}: {body}");
        assert!(body.to_string().to_lowercase().contains(field), "{query}: {body}");
    }
}

async fn reconnecting_client_resumes_with_the_next_event(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    for index in 0..5 {
        fixture.hear(talk, &format!("message {index}")).await;
    }
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut stream = Stream::open(&app.http(), "?start=earliest", None).await;
    let first = stream.until(4).await;
    drop(stream);
    let id = first.last().and_then(|sent| sent.id.clone()).expect("an event has an id");
    // The URL still says earliest, as a browser's does on reconnect.
    let mut stream = Stream::open(&app.http(), "?start=earliest", Some(&id)).await;
    let rest = stream.until(head).await;
    let seqs: Vec<u64> = first
        .iter()
        .chain(&rest)
        .filter_map(|sent| sent.data.as_ref()?["seq"].as_u64())
        .collect();
    assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
    // Both APIs accept each other's cursors.
    let cursor = URL_SAFE_NO_PAD.decode(&id).expect("it is base64");
    let mut reader = Reader::open(&app.clients(), everything(1, Start::After(cursor.into()))).await;
    assert_eq!(event(&reader.next().await).seq, 5);
}

async fn unresumable_position_returns_410_gone(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.fixture().talk().await;
    let id = URL_SAFE_NO_PAD.encode(log_info(&app.clients(), 1).await.head_cursor);
    app.database.run("UPDATE account_logs SET epoch = 7").await;
    let http = app.http();
    let request = http.request("GET", "/api/v1/accounts/1/events").header("last-event-id", &id);
    let answer = http.answer(request).await;
    assert_eq!((answer.status, &answer.body["reason"]), (410, &Json::from("EPOCH_CHANGED")));
    assert_eq!(answer.body["epoch"], "00000007");
    let (status, _) = http.with_token("nobody").ask("/events").await;
    assert_eq!(status, 401);
}

async fn drain_sends_a_retry_delay(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    app.fixture().talk().await;
    let mut stream = Stream::open(&app.http(), "?start=latest", None).await;
    stream.next().await;
    app.server.terminate();
    let mut last = None;
    while let Some(sent) = stream.next().await {
        last = Some(sent);
    }
    assert!(last.is_some_and(|last| last.retry.is_some()), "the end says when");
    assert!(app.server.wait().await.success());
}

async fn stream_resumes_from_the_cursor_of_a_write(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, http) = (app.fixture(), app.http());
    let talk = fixture.talk().await;
    let request = http.request("POST", &format!("/api/v1/accounts/1/conversations/{talk}/messages"));
    let answer = http.answer(request.json(&serde_json::json!({"content": "one"}))).await;
    let cursor = answer.headers["parley-cursor"].to_str().expect("text").to_owned();
    let head = log_info(&fixture.clients, 1).await.head_seq;
    let mut stream = Stream::open(&http, "", Some(&cursor)).await;
    fixture.hear(talk, "two").await;
    let next = stream.until(head + 1).await;
    assert_eq!(next.len(), 1, "with the very next event: {next:?}");
    // The header uses another base64 alphabet than ids; both are accepted here.
    let cursor = STANDARD.encode([0xfb, 0xff]);
    let request = http.request("GET", "/api/v1/accounts/1/events").header("last-event-id", &cursor);
    let refused = http.answer(request).await;
    assert_eq!(refused.status, 422);
    assert!(
        !refused.body.to_string().contains("must be the id of an event"),
        "it was read, and is no cursor: {}",
        refused.body
    );
}
