//! SIGTERM with every kind of open connection on every listener: a connection without a complete request does not delay the drain, streams
//! end with a status, and the process exits successfully.

use std::{fs, pin::Pin, sync::Arc};

use parley_proto::{SendMessagesRequest, messages_service_client::MessagesServiceClient, subscribe_request::Start};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
};
use tonic_types::StatusExt as _;

use crate::support::{
    api_fixture::outgoing,
    app::{ADMINISTRATOR, Builder, TestApp},
    authority::Authority,
    database::Backend,
    in_time,
    reader::{Reader, everything},
};

/// The log line about connections that had to be cut.
const CUT: &str = "aborted open connections";

/// The HTTP/2 connection preface and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

type Connection = Pin<Box<dyn Bytes>>;

/// How to connect to a listener: with TLS or without.
struct Way(Option<TlsConnector>);

impl Way {
    async fn to(&self, address: &str) -> Connection {
        let stream = TcpStream::connect(address).await.expect("the system accepts it");
        match &self.0 {
            None => Box::pin(stream),
            Some(tls) => {
                let name = ServerName::try_from("parley.test").expect("a name");
                Box::pin(tls.connect(name, stream).await.expect("TLS comes about"))
            }
        }
    }
}

fn post(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: parley.test\r\napi_access_token: {ADMINISTRATOR}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"na"
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: parley.test\r\napi_access_token: {ADMINISTRATOR}\r\n\r\n")
}

/// What a client may have sent before it stops sending.
fn beginnings() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"G".to_vec(),
        b"PRI * HT".to_vec(),
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"POST /parley.v1.AccountsService/GetProfile HTTP/1.1\r\nhost: p".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        PREFACE.to_vec(),
        // Half of a frame header.
        [PREFACE, b"\0\0\x20\x01"].concat(),
        // HEADERS without END_HEADERS, and no CONTINUATION.
        [PREFACE, b"\0\0\x01\x01\x01\0\0\0\x01\x82"].concat(),
        post("/api/v1/accounts/1/contacts").into_bytes(),
        post("/parley.v1.AccountsService/GetProfile").into_bytes(),
        get("/nowhere").into_bytes(),
        get("/api/v1/accounts/1/events?start=latest").into_bytes(),
        get("/readyz").into_bytes(),
    ]
}

/// Opens one connection of every kind to every listener, drains, and expects a successful exit without cut connections.
async fn drains(app: Builder, way: Way) {
    let mut app = app.env("PARLEY_SHUTDOWN_GRACE_SECONDS", "40").start().await;
    let listeners = [&app.server.listeners.grpc, &app.server.listeners.http, &app.server.listeners.admin];
    let mut open = Vec::new();
    for address in listeners {
        for beginning in beginnings() {
            let mut connection = way.to(address).await;
            connection.write_all(&beginning).await.expect("the other end is there");
            connection.flush().await.expect("it goes out");
            open.push((connection, beginning));
        }
    }
    // The last connection of each listener got a response, so the server has read the earlier ones.
    for (connection, beginning) in &mut open {
        if beginning.starts_with(b"GET /readyz") {
            let mut byte = [0];
            in_time("an answer", connection.read_exact(&mut byte)).await.expect("an answer");
        }
    }
    app.server.terminate();
    for (connection, beginning) in &mut open {
        let mut rest = Vec::new();
        // A reset ends the connection as well.
        let _ = in_time(&String::from_utf8_lossy(beginning), connection.read_to_end(&mut rest)).await;
    }
    let status = app.server.wait().await;
    assert_eq!(status.code(), Some(0), "{}", app.server.log());
    assert!(!app.server.log().contains(CUT), "{}", app.server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_do_not_delay_a_drain() {
    drains(TestApp::builder(Backend::Sqlite), Way(None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_tls_connections_do_not_delay_a_drain() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (certificate, key) = authority.sign("parley.test");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("tls.crt"), certificate).expect("written");
    fs::write(path("tls.key"), key).expect("written");
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("a certificate");
    roots.add(root).expect("a root");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_TLS_CERT_FILE", &path("tls.crt"))
        .env("PARLEY_TLS_KEY_FILE", &path("tls.key"))
        .env("PARLEY_TLS_LISTENERS", "grpc,http,admin");
    drains(app, Way(Some(TlsConnector::from(Arc::new(client))))).await;
}

/// Streams without events end with UNAVAILABLE and a retry delay, after they have delivered what was pending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_streams_end_with_a_status_on_drain() {
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_SHUTDOWN_GRACE_SECONDS", "40")
        .start()
        .await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let service = fixture.clients.service.clone();
    let mut watch = HealthClient::new(service.clone())
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch")
        .into_inner();
    assert_eq!(
        watch.message().await.expect("open").expect("a status").status(),
        ServingStatus::Serving
    );

    let (asking, questions) = tokio::sync::mpsc::channel(1);
    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    asking.send(question).await.expect("open");
    let mut reflection = ServerReflectionClient::new(service.clone())
        .server_reflection_info(ReceiverStream::new(questions))
        .await
        .expect("reflection")
        .into_inner();
    reflection.message().await.expect("open").expect("an answer");

    let (sending, messages) = tokio::sync::mpsc::channel(1);
    sending
        .send(SendMessagesRequest {
            account_id: 1,
            conversation_id: talk,
            message: Some(outgoing("before the drain")),
            ..SendMessagesRequest::default()
        })
        .await
        .expect("open");
    let mut request = Request::new(ReceiverStream::new(messages));
    request
        .metadata_mut()
        .insert("api_access_token", ADMINISTRATOR.parse().expect("ASCII"));
    let mut sent = MessagesServiceClient::new(service)
        .send_messages(request)
        .await
        .expect("a stream")
        .into_inner();
    let answered = sent.message().await.expect("open").expect("an answer");
    assert!(answered.results[0].error.is_none(), "{answered:?}");
    let mut events = Reader::open(&fixture.clients, everything(1, Start::Latest(()))).await;

    app.server.terminate();
    let mut last = ServingStatus::Serving;
    let watched = loop {
        match in_time("the end of the watch", watch.message()).await {
            Ok(Some(told)) => last = told.status(),
            end => break end.map(drop),
        }
    };
    assert_eq!(last, ServingStatus::NotServing, "it is reported before the end");
    let ends = [
        watched,
        in_time("the end of reflection", reflection.message()).await.map(drop),
        in_time("the end of sending", sent.message()).await.map(drop),
    ];
    for end in ends {
        let end = end.expect_err("a stream does not end as if it were complete");
        assert_eq!(end.code(), Code::Unavailable, "{end:?}");
        assert!(end.get_details_retry_info().is_some(), "{end:?}");
    }
    let (_, end) = events.until_the_end().await;
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    drop((asking, sending));
    let status = app.server.wait().await;
    assert_eq!(status.code(), Some(0), "{}", app.server.log());
    assert!(!app.server.log().contains(CUT), "{}", app.server.log());
}

/// A client that never reads its response, and one that sends its request byte by byte, keep the grace period. Then their connections are
/// cut and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_cut_and_counted_after_the_grace_period() {
    let mut app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_SHUTDOWN_GRACE_SECONDS", "3")
        .start()
        .await;
    let mut slow = TcpStream::connect(&app.server.listeners.http).await.expect("the system accepts it");
    slow.write_all(post("/api/v1/accounts/1/contacts").as_bytes())
        .await
        .expect("the other end is there");
    assert_eq!(app.http().send("GET", "/api/v1/profile", None).await.status, 200);
    app.server.terminate();
    let trickle = tokio::spawn(async move {
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
    let status = app.server.wait().await;
    assert_eq!(status.code(), Some(0), "{}", app.server.log());
    let log = app.server.log();
    let line = log.lines().find(|line| line.contains(CUT)).expect("the cut is logged");
    assert!(
        line.contains("\"http_connections\":1") && line.contains("\"grpc_connections\":0"),
        "{line}"
    );
    trickle.abort();
}

/// An incomplete request, with the protection and without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_request_delays_a_drain_only_without_protection() {
    for (is_on, switch) in [(true, ""), (false, "drained_connections")] {
        let mut app = TestApp::builder(Backend::Sqlite)
            .env("PARLEY_SHUTDOWN_GRACE_SECONDS", "4")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let mut half = TcpStream::connect(&app.server.listeners.http).await.expect("the system accepts it");
        half.write_all(b"GET / HTTP/1.1\r\n").await.expect("the other end is there");
        // A response on another connection shows that the server has read the incomplete request.
        assert_eq!(app.http().send("GET", "/api/v1/profile", None).await.status, 200);
        app.server.terminate();
        assert_eq!(app.server.wait().await.code(), Some(0));
        assert_eq!(app.server.log().contains(CUT), !is_on, "{}", app.server.log());
    }
}
