//! The memory that a connection at `/cable` keeps for what it receives.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::{growth, server};
use crate::support::{app::TestApp, database::Backend, in_time, on_both};

on_both!(
    at_most_16_subscriptions_are_kept,
    rejected_subscriptions_are_removed,
    flooding_clients_are_disconnected
);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The number of frames of an attack.
const FRAMES: usize = 100_000;

/// The memory that an attack may take: queues and buffers of one connection, and temporary allocations of its tasks.
const CONNECTION: usize = 16 * 1024 * 1024;

async fn open(app: &TestApp) -> Socket {
    let url = format!("ws://{}/cable", app.server.listeners.http);
    tokio_tungstenite::connect_async(url).await.expect("a WebSocket").0
}

fn subscribe(identifier: &Json) -> Message {
    Message::text(json!({"command": "subscribe", "identifier": identifier.to_string()}).to_string())
}

/// An identifier of about 1.5 kB with an unknown token.
fn unknown(number: usize) -> Json {
    json!({"channel": "RoomChannel", "pubsub_token": format!("nobody's {number}"), "p": "x".repeat(1400)})
}

/// The next frame that is neither a ping nor the welcome, or `None` at the end.
async fn next(socket: &mut Socket) -> Option<Json> {
    loop {
        match in_time("a frame", socket.next()).await?.ok()? {
            Message::Text(text) => {
                let frame: Json = serde_json::from_str(text.as_str()).expect("JSON");
                if frame["type"] != "ping" && frame["type"] != "welcome" {
                    return Some(frame);
                }
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// Subscribes 20 times on one connection. Returns how many subscriptions were confirmed and how many rejected.
async fn subscribe_20(app: &TestApp) -> (usize, usize) {
    let token = app.http().send("GET", "/api/v1/profile", None).await.body["pubsub_token"].clone();
    let mut socket = open(app).await;
    // Each is a different identifier with the same key.
    let own = |number: usize| json!({"channel": "RoomChannel", "pubsub_token": token, "account_id": 1, "user_id": 1, "n": number});
    for number in 0..20 {
        socket.send(subscribe(&own(number))).await.expect("the server listens");
    }
    let (mut confirmed, mut rejected) = (0, 0);
    while confirmed + rejected < 20 {
        match next(&mut socket).await.expect("no end")["type"].as_str() {
            Some("confirm_subscription") => confirmed += 1,
            Some("reject_subscription") => rejected += 1,
            _ => {}
        }
    }
    (confirmed, rejected)
}

async fn at_most_16_subscriptions_are_kept(backend: Backend) {
    let app = server(backend, "").await;
    assert_eq!(subscribe_20(&app).await, (16, 4));
    let app = server(backend, "cable_subscriptions").await;
    assert_eq!(subscribe_20(&app).await, (20, 0), "without the limit");
}

async fn rejected_subscriptions_are_removed(backend: Backend) {
    let app = server(backend, "").await;
    let mut socket = open(&app).await;
    // More subscriptions in sequence than a connection may have at once: each rejection frees its place.
    for number in 0..40 {
        socket.send(subscribe(&unknown(number))).await.expect("the server listens");
        assert_eq!(next(&mut socket).await.expect("no end")["type"], "reject_subscription");
    }
    let token = app.http().send("GET", "/api/v1/profile", None).await.body["pubsub_token"].clone();
    let own = json!({"channel": "RoomChannel", "pubsub_token": token, "account_id": 1, "user_id": 1});
    socket.send(subscribe(&own)).await.expect("the server listens");
    assert_eq!(next(&mut socket).await.expect("no end")["type"], "confirm_subscription");
}

async fn flooding_clients_are_disconnected(backend: Backend) {
    let app = server(backend, "").await;
    for message in [
        Message::text("x"),
        Message::Ping(vec![0; 100].into()),
        subscribe(&json!({"channel": "another"})),
    ] {
        let mut socket = open(&app).await;
        let mut sent = 0;
        while sent < 10_000 && socket.send(message.clone()).await.is_ok() {
            sent += 1;
        }
        let mut last = Json::Null;
        while let Some(frame) = next(&mut socket).await {
            last = frame;
        }
        // The last frame may be lost, because closing a connection with unread data resets it.
        assert!(
            last["type"] == "disconnect" || last["type"] == "reject_subscription" || last.is_null(),
            "{last}"
        );
    }
    let mut socket = open(&app).await;
    let long = json!({"channel": "RoomChannel", "pubsub_token": "t", "p": "x".repeat(3000)});
    socket.send(subscribe(&long)).await.expect("the server listens");
    let farewell = next(&mut socket).await.expect("a farewell");
    assert_eq!(
        (&farewell["type"], &farewell["reason"], &farewell["reconnect"]),
        (&json!("disconnect"), &json!("invalid_request"), &json!(false))
    );
}

/// Sends up to `frames` frames, as many as the server accepts. The client reads responses if `reads`.
async fn attack(app: &TestApp, frame: impl Fn(usize) -> Message, reads: bool, frames: usize) {
    let (mut sink, mut stream) = open(app).await.split();
    let reading = tokio::spawn(async move {
        if !reads {
            std::future::pending::<()>().await;
        }
        while let Some(Ok(_)) = stream.next().await {}
    });
    for number in 0..frames {
        // If a client does not read, the server stops reading from it once the buffers are full.
        let sending = tokio::time::timeout(std::time::Duration::from_secs(2), sink.send(frame(number))).await;
        if !matches!(sending, Ok(Ok(()))) {
            break;
        }
    }
    reading.abort();
}

/// Without the rate limit of frames, which would end each attack at once, memory is bounded anyway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_a_connection_is_bounded() {
    let app = server(Backend::Sqlite, "cable_frames").await;
    let rejected = json!({"channel": "another", "p": "x".repeat(1400)});
    for reads in [true, false] {
        let same = subscribe(&rejected);
        let (grown, ()) = growth(&app.server, attack(&app, |_| same.clone(), reads, FRAMES)).await;
        assert!(grown < CONNECTION, "repeated, reads: {reads}: grew by {grown}");
        let distinct = |number: usize| {
            let mut identifier = rejected.clone();
            identifier["n"] = json!(number);
            subscribe(&identifier)
        };
        let (grown, ()) = growth(&app.server, attack(&app, distinct, reads, FRAMES)).await;
        assert!(grown < CONNECTION, "distinct, reads: {reads}: grew by {grown}");
        // Each of these causes a call of the service, so send fewer.
        let asked = |number| subscribe(&unknown(number));
        let (grown, ()) = growth(&app.server, attack(&app, asked, reads, FRAMES / 20)).await;
        assert!(grown < CONNECTION, "rejected by the service, reads: {reads}: grew by {grown}");
    }
}

/// Each connection is charged to the shared budget. Once it is exhausted, no connection is opened until another ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_memory_budget_are_refused() {
    for (switch, most) in [("", 16), ("request_memory", 40)] {
        // The smallest budget: one body of the largest size for callers without a token, which is 16 connections.
        let app = TestApp::builder(Backend::Sqlite)
            .env("PARLEY_LIMITS_REQUEST_MEMORY_BYTES", "1")
            .env("PARLEY_GRPC_MAX_MESSAGE_BYTES", "65536")
            .env("PARLEY_HTTP_MAX_BODY_BYTES", "65536")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let mut sockets = Vec::new();
        let url = format!("ws://{}/cable", app.server.listeners.http);
        for _ in 0..40 {
            match tokio_tungstenite::connect_async(&url).await {
                Ok((socket, _)) => sockets.push(socket),
                Err(tokio_tungstenite::tungstenite::Error::Http(refused)) => {
                    assert_eq!(refused.status(), 503);
                    assert!(refused.headers().contains_key("retry-after"));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(sockets.len(), most, "{switch:?}");
        sockets.pop();
        in_time("room for a connection", async {
            while tokio_tungstenite::connect_async(&url).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}
