//! Slow, silent, old, excess and oversized connections: the listeners keep serving other clients.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parley_eventlog::cursor::Cursor;
use parley_proto::{ListLabelsRequest, labels_service_client::LabelsServiceClient, subscribe_request::Start};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::{Code, Request, metadata::MetadataValue};

use crate::support::{
    api_fixture::outgoing,
    app::{ADMINISTRATOR, TestApp},
    clients::Clients,
    database::Backend,
    in_time,
    reader::{Reader, event, everything, log_info},
};

/// A plain TCP connection.
struct Raw(TcpStream);

impl Raw {
    async fn to(address: &str) -> Self {
        Self(TcpStream::connect(address).await.expect("the system takes it"))
    }

    async fn say(&mut self, text: &[u8]) {
        self.0.write_all(text).await.expect("the other end is there");
    }

    /// Reads the head of a response, and what arrives of its body with it.
    async fn hear(&mut self) -> String {
        let mut heard = vec![0; 16 * 1024];
        let count = in_time("an answer", self.0.read(&mut heard)).await.expect("an answer");
        String::from_utf8_lossy(&heard[..count]).into_owned()
    }

    /// The time until the other end closes the connection.
    async fn closed(&mut self) -> Duration {
        let begun = Instant::now();
        in_time("the end", async {
            let mut heard = vec![0; 16 * 1024];
            while !matches!(self.0.read(&mut heard).await, Ok(0) | Err(_)) {}
        })
        .await;
        begun.elapsed()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: parley.test\r\napi_access_token: {ADMINISTRATOR}\r\n\r\n")
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Half a request head, half a body, and no data at all, on as many connections as are allowed: each is closed after its timeout, and then
/// others are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_request_times_out() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_HTTP_IDLE_TIMEOUT_SECONDS", "1")
        .env("PARLEY_LIMITS_CONNECTIONS", "3")
        .start()
        .await;
    let http = &app.server.listeners.http;
    let (mut head, mut body, mut idle) = (Raw::to(http).await, Raw::to(http).await, Raw::to(http).await);
    head.say(b"GET /api/v1/profile HTTP/1.1\r\nhost: parl").await;
    let half =
        "POST /api/v1/accounts/1/contacts HTTP/1.1\r\nhost: parley.test\r\ncontent-type: application/json\r\ncontent-length: 100\r\n";
    body.say(format!("{half}api_access_token: {ADMINISTRATOR}\r\n\r\n{{\"name\"").as_bytes())
        .await;
    idle.say(get("/api/v1/profile").as_bytes()).await;
    assert!(idle.hear().await.starts_with("HTTP/1.1 200"));
    // All connections are taken, so this one waits in the listen queue until one is closed. Without the timeouts, none ever would be.
    let mut waiting = Raw::to(http).await;
    waiting.say(get("/api/v1/profile").as_bytes()).await;
    assert!(waiting.hear().await.starts_with("HTTP/1.1 200"));
    for connection in [&mut head, &mut body, &mut idle] {
        assert!(connection.closed().await < seconds(20));
    }
}

/// The first bytes decide between HTTP/1 and HTTP/2, and both APIs wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connection_times_out() {
    let app = TestApp::start(Backend::Sqlite).await;
    let listeners = [&app.server.listeners.grpc, &app.server.listeners.http, &app.server.listeners.admin];
    let mut silent = Vec::new();
    for address in listeners {
        let (nothing, mut begun) = (Raw::to(address).await, Raw::to(address).await);
        begun.say(b"PRI * HT").await;
        silent.extend([nothing, begun]);
    }
    // The complete preface and nothing else is an idle connection.
    let mut resting = Raw::to(&app.server.listeners.grpc).await;
    resting.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    for connection in &mut silent {
        assert!(connection.closed().await < seconds(30));
    }
    assert!(!resting.hear().await.is_empty());
    assert!(timeout(seconds(1), resting.closed()).await.is_err(), "it stays");
}

/// Half a request head on the gRPC listener, which also serves gRPC-Web over HTTP/1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_head_times_out_on_the_grpc_listener() {
    let app = TestApp::start(Backend::Sqlite).await;
    let mut half = Raw::to(&app.server.listeners.grpc).await;
    half.say(b"POST /parley.v1.AccountsService/GetProfile HTTP/1.1\r\nhost: p").await;
    assert!(half.closed().await < seconds(45));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_wait() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_LIMITS_CONNECTIONS", "2")
        .start()
        .await;
    for address in [&app.server.listeners.grpc, &app.server.listeners.http] {
        let ask = get("/nowhere");
        let mut taken = Vec::new();
        for _ in 0..2 {
            let mut connection = Raw::to(address).await;
            connection.say(ask.as_bytes()).await;
            connection.hear().await;
            taken.push(connection);
        }
        let mut third = Raw::to(address).await;
        third.say(ask.as_bytes()).await;
        let mut byte = [0];
        assert!(
            timeout(seconds(1), third.0.read(&mut byte)).await.is_err(),
            "there is no place for it"
        );
        taken.pop();
        third.hear().await;
    }
}

/// A client that does not answer pings is disconnected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_ignores_pings_is_disconnected() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_GRPC_KEEPALIVE_INTERVAL_SECONDS", "1")
        .env("PARLEY_GRPC_KEEPALIVE_TIMEOUT_SECONDS", "1")
        .start()
        .await;
    let clients = app.clients();
    let mut alive = Reader::open(&clients, everything(1, Start::Latest(()))).await;
    let mut dead = Raw::to(&app.server.listeners.grpc).await;
    dead.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(dead.closed().await < seconds(20));
    let said = Clients::new(&app.server.listeners.grpc, Some(ADMINISTRATOR));
    crate::support::api_fixture::ApiFixture::new(said, 1, 1).talk().await;
    assert_eq!(event(&alive.next().await).seq, 1, "who answers stays");
}

/// A connection that reaches its maximum age accepts no new requests, and its open streams continue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_connection_closes_after_its_streams_complete() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_HTTP_MAX_CONNECTION_AGE_SECONDS", "1")
        .env("PARLEY_GRPC_MAX_CONNECTION_AGE_SECONDS", "1")
        .start()
        .await;
    let http = &app.server.listeners.http;
    let (mut resting, mut following) = (Raw::to(http).await, Raw::to(http).await);
    resting.say(get("/api/v1/profile").as_bytes()).await;
    assert!(resting.hear().await.starts_with("HTTP/1.1 200"));
    following
        .say(get("/api/v1/accounts/1/events?start=latest&heartbeat=1").as_bytes())
        .await;
    assert!(following.hear().await.starts_with("HTTP/1.1 200"));
    let mut stream = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;
    assert!(resting.closed().await < seconds(20));
    sleep(seconds(2)).await;
    let talk = app.fixture().talk().await;
    assert_eq!(event(&stream.next().await).seq, 1, "the stream goes on");
    in_time("the event", async { while !following.hear().await.contains("contact.created") {} }).await;
    // A client with a single connection opens another by itself.
    let fixture = app.fixture();
    for _ in 0..3 {
        fixture.say(talk, "over which connection").await;
        sleep(Duration::from_millis(700)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_requests_are_refused_by_both_listeners() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_GRPC_MAX_MESSAGE_BYTES", "4096")
        .start()
        .await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let refused = fixture
        .send(talk, outgoing(&"x".repeat(5000)))
        .await
        .expect_err("a message that is too large");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    fixture.say(talk, &"x".repeat(3000)).await;

    let mut request = Request::new(fixture.request(talk, outgoing("with a large head")));
    let large: MetadataValue<_> = "x".repeat(40 * 1024).parse().expect("ASCII");
    request.metadata_mut().insert("x-large", large);
    fixture
        .clients
        .messages
        .clone()
        .create_message(request)
        .await
        .expect_err("a head that is too large");
    fixture.say(talk, "the connection is as good as before").await;

    let mut large = Raw::to(&app.server.listeners.http).await;
    let head = format!(
        "GET /api/v1/profile HTTP/1.1\r\nhost: parley.test\r\nx-large: {}\r\n\r\n",
        "x".repeat(100 * 1024)
    );
    // The server may refuse the request before it has been sent completely.
    let _ = large.0.write_all(head.as_bytes()).await;
    assert!(large.hear().await.starts_with("HTTP/1.1 431"));
}

/// A client may ask for a shorter deadline than the server's, but not for a longer one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_end_at_the_server_deadline() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_GRPC_DEFAULT_DEADLINE_SECONDS", "2")
        .start()
        .await;
    app.fixture().talk().await;
    // A position beyond the head of the log.
    let mut ahead = Cursor::decode("after", &log_info(&app.clients(), 1).await.head_cursor).expect("a cursor");
    ahead.seq = ahead.seq.next();
    let wait = async |asked: Option<Duration>| {
        let mut request = Request::new(ListLabelsRequest {
            account_id: 1,
            ..ListLabelsRequest::default()
        });
        request
            .metadata_mut()
            .insert_bin("parley-min-cursor-bin", MetadataValue::from_bytes(&ahead.encode()));
        if let Some(asked) = asked {
            request.set_timeout(asked);
        }
        let begun = Instant::now();
        let mut labels = LabelsServiceClient::new(app.clients().service);
        let late = in_time("the deadline", labels.list_labels(request))
            .await
            .expect_err("it is not reached");
        assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
        begun.elapsed()
    };
    // So is a stream that cannot start.
    let mut request = Request::new(everything(1, Start::Latest(())));
    request
        .metadata_mut()
        .insert_bin("parley-min-cursor-bin", MetadataValue::from_bytes(&ahead.encode()));
    let late = in_time("the deadline", app.clients().events.subscribe(request)).await.map(drop);
    assert_eq!(late.expect_err("it is not reached").code(), Code::DeadlineExceeded);
    // Over the JSON API the error is the server's, with a retry delay.
    let http = app.http();
    let request = http.request("GET", "/api/v1/accounts/1/labels");
    let late = http
        .answer(request.header("parley-min-cursor", URL_SAFE_NO_PAD.encode(ahead.encode())))
        .await;
    assert_eq!(
        (late.status, late.body),
        (503, json!({"status": 503, "error": "Service Unavailable"}))
    );
    assert_eq!(late.headers["retry-after"], "1");
    let (none, long) = (wait(None).await, wait(Some(seconds(600))).await);
    assert!(none >= seconds(2) && none < seconds(20), "{none:?}");
    assert!(long >= seconds(2) && long < seconds(20), "{long:?}");
    assert!(wait(Some(Duration::from_millis(200))).await < seconds(2));
}
