//! Reflection streams, which anyone may open: limited per address, and charged for what their connections read ahead.

use std::net::{Ipv4Addr, SocketAddr};

use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::mpsc::{self, Sender},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::growth;
use crate::support::{app::TestApp, database::Backend, fault::assert_refused, http::client, in_time};

/// The default limit of reflection streams per address.
const MOST: usize = 16;

/// An open stream, which lasts until its sender is dropped.
type Open = (Sender<ServerReflectionRequest>, Streaming<ServerReflectionResponse>);

async fn server(without: &str) -> TestApp {
    TestApp::builder(Backend::Sqlite).env("PARLEY_FAULT_SWITCH", without).start().await
}

/// A connection from 127.0.0.`last`.
fn channel(app: &TestApp, last: u8) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", app.server.listeners.grpc)).expect("an address");
    endpoint.local_address(Some([127, 0, 0, last].into())).connect_lazy()
}

async fn open(channel: &Channel) -> Result<Open, Status> {
    let (sender, requests) = mpsc::channel(1);
    let stream = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(ReceiverStream::new(requests))
        .await?;
    Ok((sender, stream.into_inner()))
}

fn list_services(host: String) -> ServerReflectionRequest {
    ServerReflectionRequest {
        host,
        message_request: Some(MessageRequest::ListServices(String::new())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_streams_of_an_address_are_limited() {
    for switch in ["", "reflection_streams"] {
        let app = server(switch).await;
        let mut streams = Vec::new();
        // Four per connection: the limit applies to the address.
        for _ in 0..MOST / 4 {
            let channel = channel(&app, 40);
            for _ in 0..4 {
                streams.push(open(&channel).await.expect("within the limit"));
            }
        }
        let channel_of_address = channel(&app, 40);
        let another = open(&channel_of_address).await;
        if !switch.is_empty() {
            another.expect("without a limit of its own");
            continue;
        }
        let fault = assert_refused(another, Code::ResourceExhausted, "RATE_LIMITED");
        assert!(fault.retry);
        assert_eq!(fault.metadata["scope"], "address");
        assert_eq!(fault.metadata["limit"], "16 open reflection streams");
        let metrics = client().get(format!("http://{}/metrics", app.server.listeners.admin)).send().await;
        let metrics = metrics.expect("metrics").text().await.expect("text");
        let counted = |line: &str| line.starts_with("parley_calls_rejected_total") && line.contains("\"quota\"") && line.ends_with(" 1");
        assert!(metrics.lines().any(counted), "{metrics}");
        // Open streams continue. So do health watches of the address, and reflection from another address.
        let (requests, answers) = &mut streams[0];
        requests.send(list_services(String::new())).await.expect("it is open");
        in_time("an answer", answers.message()).await.expect("open").expect("an answer");
        let mut health = HealthClient::new(channel_of_address.clone());
        let mut watch = health.watch(HealthCheckRequest::default()).await.expect("a watch").into_inner();
        let status = watch.message().await.expect("open").expect("a status").status();
        assert_eq!(status, ServingStatus::Serving);
        open(&channel(&app, 41)).await.expect("another address has streams of its own");
        streams.pop();
        in_time("room for another stream", async {
            while open(&channel_of_address).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

/// However many streams an address may open, they take no more than its quarter of the request memory, 640 KiB each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_streams_use_the_share_of_their_address() {
    const TRIES: usize = 60;
    for switch in ["", "reflection_streams"] {
        let app = TestApp::builder(Backend::Sqlite)
            .env("PARLEY_LIMITS_REQUEST_MEMORY_BYTES", &(128 << 20).to_string())
            .env("PARLEY_LIMITS_REFLECTION_STREAMS_PER_ADDRESS", "0")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let channel = channel(&app, 42);
        let mut streams = Vec::new();
        let mut refused = Vec::new();
        for _ in 0..TRIES {
            match open(&channel).await {
                Ok(stream) => streams.push(stream),
                Err(status) => refused.push(status),
            }
        }
        let most = (32 << 20) / (640 << 10);
        let allowed = if switch.is_empty() { most - 2..=most } else { TRIES..=TRIES };
        assert!(allowed.contains(&streams.len()), "{switch:?}: {} of {allowed:?}", streams.len());
        for status in refused {
            assert_refused::<()>(Err(status), Code::ResourceExhausted, "BUSY");
        }
    }
}

/// The size of a DATA frame with one request. As many frames of this size as fit into the window take the most memory.
const FRAME: usize = 256;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// Types and flags of frames, see RFC 9113.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The headers that open a reflection stream: literals and entries of the static table of RFC 7541.
fn headers() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[0x04], "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    literal(&[0x01], "parley.test");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(&[0x00, 0x02, b't', b'e'], "trailers");
    block
}

/// A request that fills a DATA frame.
fn request() -> Vec<u8> {
    let mut host = String::new();
    let message = loop {
        let message = list_services(host.clone()).encode_to_vec();
        if message.len() == FRAME - 5 {
            break message;
        }
        host.push('h');
    };
    let mut framed = vec![0, 0, 0, 0, u8::try_from(message.len()).expect("short")];
    framed.extend_from_slice(&message);
    framed
}

/// The type, flags and stream of the next frame.
async fn next(socket: &mut TcpStream) -> (u8, u8, u8) {
    let mut head = [0; 9];
    in_time("a frame", socket.read_exact(&mut head))
        .await
        .expect("the connection goes on");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    in_time("its payload", socket.read_exact(&mut payload))
        .await
        .expect("the connection goes on");
    (head[3], head[4], head[8])
}

/// Fills the window of a connection from 127.0.0.43 with requests on one stream, whose responses have no window. Returns the connection
/// once the server has read everything, and whether the stream is open.
async fn filled(address: &str) -> (TcpStream, bool) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 43), 0));
    socket.bind(from).expect("an address of this machine");
    let address = address.parse().expect("an address");
    let mut socket = in_time("a connection", socket.connect(address)).await.expect("the server listens");
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // INITIAL_WINDOW_SIZE is 0.
    said.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    socket.write_all(&said).await.expect("it is sent");
    while !matches!(next(&mut socket).await, (SETTINGS, flags, _) if flags & ACK == 0) {}
    socket.write_all(&frame(SETTINGS, ACK, 0, &[])).await.expect("it is sent");
    // Before the WINDOW_UPDATE, the connection has a window of 64 KiB.
    while !matches!(next(&mut socket).await, (WINDOW_UPDATE, _, 0)) {}
    said.clear();
    said.extend(frame(HEADERS, END_HEADERS, 1, &headers()));
    let data = frame(DATA, 0, 1, &request());
    for _ in 0..1000 {
        said.extend_from_slice(&data);
    }
    said.extend(frame(PING, 0, 0, &[7; 8]));
    socket.write_all(&said).await.expect("it is sent");
    let (mut is_open, mut is_read) = (None, false);
    while is_open.is_none() || !is_read {
        match next(&mut socket).await {
            (HEADERS, flags, 1) => is_open = Some(flags & END_STREAM == 0),
            (PING, flags, _) if flags & ACK != 0 => is_read = true,
            _ => {}
        }
    }
    (socket, is_open.expect("it was answered"))
}

/// The memory that one address makes the server read ahead, on connections with one stream each whose client does not accept responses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_ahead_of_reflection_is_bounded() {
    const CONNECTIONS: usize = 100;
    const BOUND: usize = 36 << 20;
    for switch in ["", "reflection_streams"] {
        let app = server(switch).await;
        // One-time allocations.
        drop(filled(&app.server.listeners.grpc).await);
        let (grown, open) = growth(&app.server, async {
            let mut sockets = Vec::new();
            let mut open = 0;
            for _ in 0..CONNECTIONS {
                let (socket, is_open) = filled(&app.server.listeners.grpc).await;
                open += usize::from(is_open);
                sockets.push(socket);
            }
            open
        })
        .await;
        if switch.is_empty() {
            // The stream of the first connection may not have ended yet.
            assert!((MOST - 1..=MOST).contains(&open), "{open} streams");
            assert!(grown < BOUND, "{} KiB", grown >> 10);
        } else {
            assert_eq!(open, CONNECTIONS);
            assert!(grown > BOUND, "{} KiB", grown >> 10);
        }
    }
}
