//! SIGTERM while responses are being sent: a client that reads slowly gets the rest of a complete response, and one that reads nothing
//! delays the drain for the grace period only.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use parley_proto::{DownloadFileRequest, download_file_response::Part, files_service_client::FilesServiceClient};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::sleep,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    files::{upload, with_uploads},
    support::{
        app::{ADMINISTRATOR, TestApp},
        database::Backend,
        in_time,
    },
};

/// The log line about connections that had to be cut.
const CUT: &str = "aborted open connections";

/// How long clients read nothing: longer than a drain waits for a connection without a pending response.
const PAUSE: Duration = Duration::from_secs(3);

/// The size of the chunks in which response bodies are passed to the HTTP server.
const PIECE: usize = 16 * 1024;

/// Starts a server. Returns it with the path of a response of about 40 KiB whose body is produced in one piece.
async fn server(grace: &str, switch: &str) -> (TestApp, String) {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_SHUTDOWN_GRACE_SECONDS", grace)
        .env("PARLEY_FAULT_SWITCH", switch)
        .start()
        .await;
    let body = json!({"name": "large", "custom_attributes": {"text": "x".repeat(40_000)}});
    let contact = app.http().post("/contacts", &body).await;
    let id = contact["payload"]["contact"]["id"].as_i64().expect("an id");
    (app, format!("/api/v1/accounts/1/contacts/{id}"))
}

/// An HTTP/2 response with a flow-control window of `window` bytes.
struct Narrow {
    body: h2::RecvStream,
    length: usize,
}

impl Narrow {
    async fn open(app: &TestApp, path: &str, window: u32) -> Self {
        let address = &app.server.listeners.http;
        let socket = TcpStream::connect(address).await.expect("the listener is there");
        let mut builder = h2::client::Builder::new();
        let (mut requests, connection) = in_time("a handshake", builder.initial_window_size(window).handshake::<_, Bytes>(socket))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::get(format!("http://{address}{path}")).header("api_access_token", ADMINISTRATOR);
        let request = request.body(()).expect("a request");
        let (answer, _) = requests.send_request(request, true).expect("it is sent");
        let answer = in_time("an answer", answer).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let length = answer.headers()["content-length"]
            .to_str()
            .ok()
            .and_then(|length| length.parse().ok());
        Self {
            body: answer.into_body(),
            length: length.expect("a length"),
        }
    }

    /// Reads this many bytes without extending the window.
    async fn take(&mut self, bytes: usize) {
        let mut taken = 0;
        while taken < bytes {
            let data = in_time("the response", self.body.data()).await.expect("there is more");
            taken += data.expect("it goes on").len();
        }
        assert_eq!(taken, bytes);
    }

    /// Extends the window by `room` and reads the rest. Returns its size, or `None` if the response was cut.
    async fn rest(mut self, room: usize) -> Option<usize> {
        // A reset stream has no window.
        let _ = self.body.flow_control().release_capacity(room);
        let mut rest = 0;
        while let Some(data) = in_time("the response", self.body.data()).await {
            rest += data.ok()?.len();
        }
        Some(rest)
    }
}

/// The window ends within the last chunk, so the whole response has been passed to the HTTP server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_chunk_of_a_response_waits_for_a_slow_client() {
    for (is_on, switch) in [(true, ""), (false, "drained_responses")] {
        let (mut app, path) = server("40", switch).await;
        let length = Narrow::open(&app, &path, 1 << 20).await.length;
        let window = (length - 1) / PIECE * PIECE + 1;
        let mut slow = Narrow::open(&app, &path, window.try_into().expect("small")).await;
        assert_eq!(slow.length, length);
        slow.take(window).await;
        app.server.terminate();
        sleep(PAUSE).await;
        let rest = slow.rest(window).await;
        assert_eq!(rest, is_on.then_some(length - window));
        assert_eq!(app.server.wait().await.code(), Some(0));
        assert!(!app.server.log().contains(CUT), "{}", app.server.log());
    }
}

/// The counters of completed requests, as text.
async fn answered(app: &TestApp) -> String {
    let url = format!("http://{}/metrics", app.server.listeners.admin);
    let answer = crate::support::http::client().get(url).send().await.expect("metrics");
    let text = answer.text().await.expect("they arrive");
    let counts = text.lines().filter(|line| line.contains("duration_seconds_count"));
    counts.collect::<Vec<_>>().join("\n")
}

/// Pipelines requests and reads nothing, until the server cannot write any more.
async fn fill(app: &TestApp, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    let address: std::net::SocketAddr = app.server.listeners.http.parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the listener is there");
    let request = format!("GET {path} HTTP/1.1\r\nhost: parley.test\r\napi_access_token: {ADMINISTRATOR}\r\n\r\n");
    // The responses exceed what the socket buffers hold; the requests do not.
    in_time("room for requests", stream.write_all(request.repeat(300).as_bytes()))
        .await
        .expect("they are sent");
    let client = stream.local_addr().expect("an address").port();
    let mut before = (String::new(), 0);
    let mut same = 0;
    in_time("a server that waits for its client", async {
        while same < SAME {
            sleep(Duration::from_millis(200)).await;
            let now = (answered(app).await, unacknowledged(address.port(), client));
            // The client's receive buffer is full, and the server has stopped writing to its send buffer.
            same = if now.1 > 0 && now == before { same + 1 } else { 0 };
            before = now;
        }
    })
    .await;
    stream
}

/// How many consecutive polls must find the server unchanged.
const SAME: u32 = 10;

/// The bytes that the server at one local port has sent to the client at another, and that the client's kernel has not acknowledged.
fn unacknowledged(server: u16, client: u16) -> u64 {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("Linux has the table");
    let queue = table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, _, queues, ..] = columns[..] else {
            return None;
        };
        let is_it = port(local) == Some(server) && port(remote) == Some(client);
        u64::from_str_radix(queues.split(':').next().filter(|_| is_it)?, 16).ok()
    });
    queue.expect("the connection is open")
}

/// The number of complete responses, and whether an incomplete one follows.
fn whole(mut bytes: &[u8]) -> (usize, bool) {
    let mut count = 0;
    while let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
        let length = text
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
        let end = head + 4 + length.expect("a length");
        if bytes.len() < end {
            return (count, true);
        }
        count += 1;
        bytes = &bytes[end..];
    }
    (count, !bytes.is_empty())
}

/// The part of a response that does not fit into the socket buffer is not lost either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_in_a_full_buffer_is_written_completely() {
    for (is_on, switch) in [(true, ""), (false, "drained_responses")] {
        let (mut app, path) = server("40", switch).await;
        let mut stream = fill(&app, &path).await;
        app.server.terminate();
        sleep(PAUSE).await;
        let mut bytes = Vec::new();
        // A reset ends the connection as well.
        let _ = in_time("the responses", stream.read_to_end(&mut bytes)).await;
        let (count, has_part) = whole(&bytes);
        assert_eq!(has_part, !is_on, "after {count} responses");
        assert!(count > 0 || !is_on, "{} bytes", bytes.len());
        assert_eq!(app.server.wait().await.code(), Some(0));
        assert!(!app.server.log().contains(CUT), "{}", app.server.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_delay_a_drain_by_the_grace_period() {
    let (mut app, path) = server("4", "").await;
    let length = Narrow::open(&app, &path, 1 << 20).await.length;
    let window = (length - 1) / PIECE * PIECE + 1;
    let narrow = Narrow::open(&app, &path, window.try_into().expect("small")).await;
    let full = fill(&app, &path).await;
    app.server.terminate();
    assert_eq!(app.server.wait().await.code(), Some(0));
    let log = app.server.log();
    let line = log.lines().find(|line| line.contains(CUT)).expect("the cut is logged");
    assert!(line.contains("\"http_connections\":2"), "{line}");
    drop((narrow, full));
}

/// A download whose client keeps reading completes. One whose client is slow ends with a status and can be resumed at its offset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_downloads_end_with_a_status_on_drain() {
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_SHUTDOWN_GRACE_SECONDS", "40")
        .start()
        .await;
    let content: Vec<u8> = (0..6_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let file = upload(&app.clients(), "a file.bin", &content).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let sent = fixture.send(talk, with_uploads(&[&file.upload_id])).await.expect("a message");
    let link = sent.message.expect("always set").attachments[0].data_url.clone();
    let mut downloads = Vec::new();
    for _ in 0..2 {
        let clients = app.clients();
        let request = DownloadFileRequest {
            link: link.clone(),
            ..DownloadFileRequest::default()
        };
        let opened = FilesServiceClient::new(clients.service.clone()).download_file(request).await;
        let mut parts = opened.expect("a download").into_inner();
        let info = parts.message().await.expect("it goes on").expect("the info");
        assert!(matches!(info.part, Some(Part::Info(_))), "{info:?}");
        downloads.push(parts);
    }
    app.server.terminate();
    let (mut slow, mut quick) = (downloads.pop().expect("two"), downloads.pop().expect("two"));
    let mut came = Vec::new();
    while let Some(part) = in_time("the download", quick.message()).await.expect("it is whole") {
        if let Some(Part::Chunk(chunk)) = part.part {
            came.extend_from_slice(&chunk);
        }
    }
    assert!(came == content, "{} bytes", came.len());
    let mut came = Vec::new();
    let end = loop {
        match in_time("the download", slow.message()).await {
            Ok(Some(part)) => {
                if let Some(Part::Chunk(chunk)) = part.part {
                    came.extend_from_slice(&chunk);
                }
            }
            Ok(None) => panic!("it did not end with the drain"),
            Err(end) => break end,
        }
        sleep(Duration::from_millis(250)).await;
    };
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(end.get_details_retry_info().is_some(), "{end:?}");
    assert!(content.starts_with(&came) && came.len() < content.len(), "{} bytes", came.len());
    assert_eq!(app.server.wait().await.code(), Some(0));
    assert!(!app.server.log().contains(CUT), "{}", app.server.log());
}
