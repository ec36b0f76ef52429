//! What callers without any credential do, each bounded in rate. The inbox identifier is public, so a visitor's calls count.

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

/// How long an attacker waits for an answer before it goes on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Attackers at once, in every attack.
const WORKERS: u8 = 4;

/// What an attacker does until the end of its attack.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One attack.
pub struct Attack {
    /// Its name.
    pub name: &'static str,
    work: fn(Attacker) -> Work,
}

/// One of the attackers.
#[derive(Clone, Debug)]
struct Attacker {
    target: Target,
    /// Where it calls from.
    address: IpAddr,
    number: u8,
    tried: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

/// All attacks.
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

/// Runs attacks at once until the target's end, and says how often something was tried.
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
    // What hangs on an answer that never comes ends with its attack.
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

    /// Connects, and sends the beginning of a request.
    async fn begin(&self, to: &str, request: &[u8]) -> Option<TcpStream> {
        let mut stream = self.connect(to).await?;
        stream.write_all(request).await.ok()?;
        self.tried.fetch_add(1, Ordering::Relaxed);
        Some(stream)
    }

    fn contacts(&self) -> String {
        format!("http://{}/public/api/v1/inboxes/{INBOX}/contacts", self.target.http)
    }

    /// Sends a request and reads its answer; the answer's text if it was taken.
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

    /// Notes how a call ended.
    fn note<T>(&self, answered: Result<T, tonic::Status>) -> Option<T> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        if answered.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        answered.ok()
    }

    /// A session, as a visitor makes one: its URL and name.
    async fn session(&self, http: &reqwest::Client) -> (String, String) {
        let made = self.send(http.post(self.contacts()).json(&json!({"name": "Visitor"}))).await;
        let made: Option<Json> = made.and_then(|text| serde_json::from_str(&text).ok());
        // Where sessions are refused, an invented name is as good.
        let source = made.and_then(|made| Some(made["source_id"].as_str()?.to_owned()));
        let source = source.unwrap_or_else(|| format!("invented-{}", self.number));
        (format!("{}/{source}", self.contacts()), source)
    }

    /// Does something this many times a second, at most, until the attack ends.
    async fn every<F: Future<Output = ()>>(&self, per_second: u32, mut attempt: impl FnMut() -> F) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.target.goes_on() {
            ticks.tick().await;
            attempt().await;
        }
    }
}

/// S-01: a long key before many numbers that a double cannot hold.
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

/// A form whose keys nest deeper and deeper.
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

/// S-02: a part header that does not end.
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

/// S-03: subscriptions that are rejected, on a socket that reads.
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

/// S-03: the same on a socket that never reads.
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

/// S-04: names of 100 kB that are looked up and echoed.
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

/// S-28: sessions without end.
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

/// S-28: guesses of tokens.
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

/// S-22 and S-25: attributes that grow, and are embedded in every event.
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

/// S-24: objects in objects.
async fn deep_structs(attacker: Attacker) {
    let depth = 31 + usize::from(attacker.number);
    update_attributes(attacker, 20, move || nested(depth)).await;
}

/// A message of 4 MB whose many small values take much more once they are decoded.
async fn wide_structs(attacker: Attacker) {
    let value = || Value {
        kind: Some(Kind::NullValue(0)),
    };
    let fields = (0..250_000).map(|nth| (format!("{nth:x}"), value())).collect();
    let wide = Struct { fields };
    update_attributes(attacker, 2, move || wide.clone()).await;
}

/// S-26: a long history, and then lists of it that nobody reads.
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

/// S-27: files for a conversation that does not exist.
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

/// S-29: downloads whose readers never open their window, and answer pings.
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

/// S-30: bodies that arrive a byte a second, and bodies and messages of the largest size that are declared and never sent: enough of them at
/// once to fill any budget that held what they declare.
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
        // The server gives them up in time, so new ones take the place of the oldest.
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

/// Connections that say nothing, to both listeners.
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
