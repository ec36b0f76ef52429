//! The attacks of callers without any credentials, each bounded in rate. The inbox identifier is public, so the calls of visitors count.

use std::{
    collections::VecDeque,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use parley_proto::{
    self as pb, DownloadFileRequest, GetClientSessionRequest, UpdateClientSessionRequest, client_service_client::ClientServiceClient,
    files_service_client::FilesServiceClient,
};
use prost_types::{Struct, Value, value::Kind};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
use tonic::transport::{Channel, Endpoint};

use super::{INBOX, Target};

/// How long an attacker waits for a response before it continues.
const PATIENCE: Duration = Duration::from_secs(5);

/// The number of concurrent attackers in every attack.
const WORKERS: u8 = 4;

/// The work of an attacker until the end of its attack.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

pub struct Attack {
    pub name: &'static str,
    work: fn(Attacker) -> Work,
}

#[derive(Clone, Debug)]
struct Attacker {
    target: Target,
    /// The source address of its calls.
    address: IpAddr,
    number: u8,
    tried: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

pub fn all() -> Vec<Attack> {
    macro_rules! attacks {
        ($($work:ident),+ $(,)?) => { vec![$(Attack { name: stringify!($work), work: |attacker| Box::pin($work(attacker)) }),+] };
    }
    attacks![
        inexact_numbers,
        many_json_values,
        nested_form_keys,
        multipart_preamble,
        rejected_subscriptions,
        unread_websocket,
        long_names,
        new_sessions,
        unknown_tokens,
        growing_attributes,
        deep_structs,
        wide_structs,
        long_conversations,
        files_for_nothing,
        downloads_without_window,
        slow_bodies,
        idle_connections,
    ]
}

/// Runs attacks concurrently until the deadline of the target. Returns how many attempts were made and refused.
pub async fn run(attacks: &[Attack], target: &Target) -> String {
    let (tried, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for attack in attacks {
        for number in 0..WORKERS {
            workers.spawn((attack.work)(Attacker {
                target: target.clone(),
                address: IpAddr::from([127, 0, 3, number + 1]),
                number,
                tried: Arc::clone(&tried),
                refused: Arc::clone(&refused),
            }));
        }
    }
    // A worker that waits for a response that never arrives ends with its attack.
    let rest = target.until.saturating_duration_since(std::time::Instant::now()) + PATIENCE;
    let _ = tokio::time::timeout(rest, async { while workers.join_next().await.is_some() {} }).await;
    workers.shutdown().await;
    format!(
        "tried {}, refused {}",
        tried.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed)
    )
}

impl Attacker {
    fn http(&self) -> reqwest::Client {
        let client = reqwest::Client::builder().local_address(self.address).timeout(PATIENCE);
        client.build().expect("a client")
    }

    fn grpc(&self) -> Endpoint {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.target.grpc)).expect("an address");
        endpoint.local_address(Some(self.address)).timeout(PATIENCE)
    }

    fn channel(&self) -> Channel {
        self.grpc().connect_lazy()
    }

    async fn connect(&self, to: &str) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(self.address, 0)).ok()?;
        socket.connect(to.parse().ok()?).await.ok()
    }

    /// Connects and sends the beginning of a request.
    async fn begin(&self, to: &str, request: &[u8]) -> Option<TcpStream> {
        let mut stream = self.connect(to).await?;
        stream.write_all(request).await.ok()?;
        self.tried.fetch_add(1, Ordering::Relaxed);
        Some(stream)
    }

    fn contacts(&self) -> String {
        format!("http://{}/public/api/v1/inboxes/{INBOX}/contacts", self.target.http)
    }

    /// Sends a request and reads the response. Returns its body if the request succeeded.
    async fn send(&self, request: reqwest::RequestBuilder) -> Option<String> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let answered = request.send().await;
        if let Ok(answer) = answered
            && answer.status().is_success()
        {
            return answer.text().await.ok();
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Counts a call and whether it was refused.
    fn note<T>(&self, answered: Result<T, tonic::Status>) -> Option<T> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        if answered.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        answered.ok()
    }

    /// Creates a session, as a visitor does. Returns its URL and source id.
    async fn session(&self, http: &reqwest::Client) -> (String, String) {
        let made = self.send(http.post(self.contacts()).json(&json!({"name": "Visitor"}))).await;
        let made: Option<Json> = made.and_then(|text| serde_json::from_str(&text).ok());
        // If sessions are refused, an invented source id serves as well.
        let source = made.and_then(|made| Some(made["source_id"].as_str()?.to_owned()));
        let source = source.unwrap_or_else(|| format!("invented-{}", self.number));
        (format!("{}/{source}", self.contacts()), source)
    }

    /// Repeats an attempt at most this many times per second, until the attack ends.
    async fn every<F: Future<Output = ()>>(&self, per_second: u32, mut attempt: impl FnMut() -> F) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.target.goes_on() {
            ticks.tick().await;
            attempt().await;
        }
    }
}

/// A long key followed by many numbers that a double cannot represent.
async fn inexact_numbers(attacker: Attacker) {
    let http = attacker.http();
    let body = Bytes::from(format!("{{\"{}\":[{}0]}}", "k".repeat(1_000_000), "1e999,".repeat(400_000)));
    attacker
        .every(2, || async {
            let request = http.post(attacker.contacts()).header("content-type", "application/json");
            attacker.send(request.body(body.clone())).await;
        })
        .await;
}

/// Two million small values in a body of 4 MB.
async fn many_json_values(attacker: Attacker) {
    let http = attacker.http();
    let body = Bytes::from(format!("{{\"a\":[{}0]}}", "0,".repeat(2_000_000)));
    attacker
        .every(2, || async {
            let request = http.post(attacker.contacts()).header("content-type", "application/json");
            attacker.send(request.body(body.clone())).await;
        })
        .await;
}

/// A form whose keys are nested ever deeper.
async fn nested_form_keys(attacker: Attacker) {
    let http = attacker.http();
    let mut body = String::new();
    for nth in 0..2000 {
        body.extend(["a", "[a]".repeat(nth % 500).as_str(), "[b]=", nth.to_string().as_str(), "&"]);
    }
    let body = Bytes::from(body);
    attacker
        .every(4, || async {
            let request = http
                .post(attacker.contacts())
                .header("content-type", "application/x-www-form-urlencoded");
            attacker.send(request.body(body.clone())).await;
        })
        .await;
}

/// A part header that never ends.
async fn multipart_preamble(attacker: Attacker) {
    let http = attacker.http();
    let url = format!("{}/nobody/conversations/1/messages", attacker.contacts());
    let piece = Bytes::from(vec![b'a'; 64 << 10]);
    attacker
        .every(2, || async {
            let head = Bytes::from_static(b"--x\r\nContent-Disposition: form-data; name=\"");
            let rest = futures_util::stream::repeat(piece.clone()).take(800);
            let body = futures_util::stream::once(async { head }).chain(rest).map(Ok::<_, std::io::Error>);
            let request = http.post(&url).header("content-type", "multipart/form-data; boundary=x");
            attacker.send(request.body(reqwest::Body::wrap_stream(body))).await;
        })
        .await;
}

async fn websocket(attacker: &Attacker) -> Option<tokio_tungstenite::WebSocketStream<TcpStream>> {
    let request = format!("ws://{}/cable", attacker.target.http).into_client_request().ok()?;
    let stream = attacker.connect(&attacker.target.http).await?;
    attacker.tried.fetch_add(1, Ordering::Relaxed);
    let opened = tokio_tungstenite::client_async(request, stream).await;
    if opened.is_err() {
        attacker.refused.fetch_add(1, Ordering::Relaxed);
    }
    opened.ok().map(|(socket, _)| socket)
}

fn subscription(nth: usize) -> Message {
    let padding = "x".repeat(60_000);
    let identifier = json!({"channel": "RoomChannel", "pubsub_token": "t", "p": padding, "n": nth}).to_string();
    Message::text(json!({"command": "subscribe", "identifier": identifier}).to_string())
}

/// Rejected subscriptions on a WebSocket whose client reads.
async fn rejected_subscriptions(attacker: Attacker) {
    while attacker.target.goes_on() {
        let Some(mut socket) = websocket(&attacker).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let mut nth = 0;
        while attacker.target.goes_on() && socket.send(subscription(nth)).await.is_ok() {
            nth += 1;
            while let Ok(Some(Ok(_))) = tokio::time::timeout(Duration::from_millis(2), socket.next()).await {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The same on a WebSocket whose client never reads.
async fn unread_websocket(attacker: Attacker) {
    while attacker.target.goes_on() {
        let Some(mut socket) = websocket(&attacker).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let mut nth = 0;
        while attacker.target.goes_on() {
            match tokio::time::timeout(PATIENCE, socket.send(subscription(nth))).await {
                Ok(Ok(())) => nth += 1,
                Ok(Err(_)) => break,
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Names of 100 kB that are looked up and echoed.
async fn long_names(attacker: Attacker) {
    let client = ClientServiceClient::new(attacker.channel());
    let session = || pb::ClientSession {
        inbox_identifier: INBOX.to_owned(),
        source_id: "x".repeat(100_000),
    };
    attacker
        .every(50, || async {
            let request = GetClientSessionRequest {
                session: Some(session()),
                signature: None,
            };
            attacker.note(client.clone().get_client_session(request).await);
        })
        .await;
}

/// An unlimited number of sessions.
async fn new_sessions(attacker: Attacker) {
    let http = attacker.http();
    attacker
        .every(100, || async {
            attacker
                .send(http.post(attacker.contacts()).json(&json!({"name": "Visitor"})))
                .await;
        })
        .await;
}

/// Guessed tokens.
async fn unknown_tokens(attacker: Attacker) {
    let http = attacker.http();
    let url = format!("http://{}/api/v1/accounts/1/conversations", attacker.target.http);
    attacker
        .every(100, || async {
            let guess = format!("guess-{:032x}", rand::random::<u128>());
            attacker.send(http.get(&url).header("api_access_token", guess)).await;
        })
        .await;
}

/// Growing attributes, which are embedded in every event.
async fn growing_attributes(attacker: Attacker) {
    let http = attacker.http();
    let (session, _) = attacker.session(&http).await;
    let value = "x".repeat(3_900_000);
    let nth = AtomicU64::new(0);
    attacker
        .every(2, || async {
            let key = format!("k{}", nth.fetch_add(1, Ordering::Relaxed));
            attacker
                .send(http.patch(&session).json(&json!({"custom_attributes": {(key): value}})))
                .await;
        })
        .await;
}

fn nested(depth: usize) -> Struct {
    let mut inner = Struct::default();
    for _ in 0..depth {
        let value = Value {
            kind: Some(Kind::StructValue(inner)),
        };
        inner = Struct {
            fields: [("a".to_owned(), value)].into(),
        };
    }
    inner
}

async fn update_attributes(attacker: Attacker, per_second: u32, attributes: impl Fn() -> Struct + Send + Sync) {
    let http = attacker.http();
    let (_, source_id) = attacker.session(&http).await;
    let client = ClientServiceClient::new(attacker.channel());
    attacker
        .every(per_second, || async {
            let request = UpdateClientSessionRequest {
                session: Some(pb::ClientSession {
                    inbox_identifier: INBOX.to_owned(),
                    source_id: source_id.clone(),
                }),
                custom_attributes: Some(attributes()),
                ..UpdateClientSessionRequest::default()
            };
            attacker.note(client.clone().update_client_session(request).await);
        })
        .await;
}

/// Deeply nested objects.
async fn deep_structs(attacker: Attacker) {
    let depth = 31 + usize::from(attacker.number);
    update_attributes(attacker, 20, move || nested(depth)).await;
}

/// A message of 4 MB with many small values, which take much more memory once they are decoded.
async fn wide_structs(attacker: Attacker) {
    let value = || Value {
        kind: Some(Kind::NullValue(0)),
    };
    let fields = (0..250_000).map(|nth| (format!("{nth:x}"), value())).collect();
    let wide = Struct { fields };
    update_attributes(attacker, 2, move || wide.clone()).await;
}

/// A long history, and then lists of it whose responses are not read.
async fn long_conversations(attacker: Attacker) {
    let http = attacker.http();
    let (session, _) = attacker.session(&http).await;
    let text = "x".repeat(149_000);
    let conversations = format!("{session}/conversations");
    let mut unread = Vec::new();
    let made = attacker.send(http.post(&conversations).json(&json!({}))).await;
    let made: Option<Json> = made.and_then(|text| serde_json::from_str(&text).ok());
    let id = made.and_then(|made| made["id"].as_i64()).unwrap_or(1);
    while attacker.target.goes_on() {
        for _ in 0..10 {
            attacker
                .send(http.post(format!("{conversations}/{id}/messages")).json(&json!({"content": text})))
                .await;
        }
        if unread.len() < 10
            && let Some(mut stream) = attacker.connect(&attacker.target.http).await
        {
            let path = conversations.split_once(&attacker.target.http).map_or("/", |(_, path)| path);
            let head = format!("GET {path} HTTP/1.1\r\nhost: siege\r\n\r\n");
            if stream.write_all(head.as_bytes()).await.is_ok() {
                attacker.tried.fetch_add(1, Ordering::Relaxed);
                unread.push(stream);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Files for a conversation that does not exist.
async fn files_for_nothing(attacker: Attacker) {
    let http = attacker.http();
    let (session, _) = attacker.session(&http).await;
    let content = Bytes::from(vec![7; 5 << 20]);
    attacker
        .every(2, || async {
            let part = reqwest::multipart::Part::stream(content.clone()).file_name("f");
            let form = reqwest::multipart::Form::new().part("attachments[]", part);
            attacker
                .send(http.post(format!("{session}/conversations/999999/messages")).multipart(form))
                .await;
        })
        .await;
}

/// Downloads whose clients never open their flow-control window but answer pings.
async fn downloads_without_window(attacker: Attacker) {
    let channel = attacker.grpc().initial_stream_window_size(0).connect_lazy();
    let link = attacker.target.file.split('/').nth(2).unwrap_or_default().to_owned();
    let mut open = Vec::new();
    attacker
        .every(100, || {
            let (mut files, link) = (FilesServiceClient::new(channel.clone()), link.clone());
            let request = DownloadFileRequest { link, offset: 0, limit: 0 };
            let opening = tokio::spawn(async move { files.download_file(request).await });
            attacker.tried.fetch_add(1, Ordering::Relaxed);
            if open.len() < 1000 {
                open.push(opening);
            }
            std::future::ready(())
        })
        .await;
    for opening in open {
        opening.abort();
    }
}

/// Bodies that arrive at one byte per second, and bodies and messages of the largest size that are declared and never sent: enough of them
/// at once to exhaust any budget that reserves the declared size.
async fn slow_bodies(attacker: Attacker) {
    let json = |length: usize| {
        let path = format!("/public/api/v1/inboxes/{INBOX}/contacts");
        format!("POST {path} HTTP/1.1\r\nhost: siege\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n").into_bytes()
    };
    let mut open = Vec::new();
    for _ in 0..50 {
        open.extend(attacker.begin(&attacker.target.http, &json(1_000_000)).await);
    }
    let grpc = "POST /parley.v1.ClientService/CreateClientSession HTTP/1.1\r\nhost: siege\r\n\
                content-type: application/grpc-web+proto\r\ncontent-length: 4194309\r\n\r\n";
    let prefix = [grpc.as_bytes(), &[0, 0, 0x40, 0, 0]].concat();
    let largest = json(4_194_304);
    let mut unsent = VecDeque::new();
    while attacker.target.goes_on() {
        for stream in &mut open {
            let _ = stream.write_all(b" ").await;
        }
        // The server times them out, so new ones replace the oldest.
        for _ in 0..4 {
            unsent.extend(attacker.begin(&attacker.target.http, &largest).await);
            unsent.extend(attacker.begin(&attacker.target.grpc, &prefix).await);
        }
        while unsent.len() > 64 {
            unsent.pop_front();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Idle connections to both listeners.
async fn idle_connections(attacker: Attacker) {
    let mut open = Vec::new();
    while attacker.target.goes_on() {
        for to in [&attacker.target.http, &attacker.target.grpc] {
            if open.len() < 400
                && let Some(stream) = attacker.connect(to).await
            {
                attacker.tried.fetch_add(1, Ordering::Relaxed);
                open.push(stream);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for mut stream in open {
        let mut byte = [0];
        if let Ok(Ok(0)) = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte)).await {
            attacker.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}
