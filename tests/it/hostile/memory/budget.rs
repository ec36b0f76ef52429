//! The memory budget that all requests in flight share.

use std::time::Duration;

use parley_proto::{CreateClientSessionRequest, CreateContactRequest};
use prost_types::{ListValue, Struct, Value, value::Kind};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use super::{CONTACTS, REQUEST, growth, server};
use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::{assert_refused, refused},
    in_time, on_both,
};

on_both!(
    requests_beyond_the_memory_budget_are_refused,
    requests_that_expand_when_decoded_are_refused
);

const MIB: usize = 1024 * 1024;

/// A server with the smallest possible budget: callers without a token share one body of the largest size.
async fn small(backend: Backend, without: &str) -> TestApp {
    TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .env("PARLEY_LIMITS_REQUEST_MEMORY_BYTES", "1")
        .env("PARLEY_FAULT_SWITCH", without)
        .start()
        .await
}

/// Starts a request of `bytes` and sends its body except for the last byte, as far as the server reads it.
async fn begun(app: &TestApp, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&app.server.listeners.http).await.expect("the server listens");
    let head = format!("POST {CONTACTS} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    // An error means that the request was refused before its body was read.
    let _ = in_time("the body", stream.write_all(&vec![b' '; bytes - 1])).await;
    stream
}

/// The head of the response to a started request.
async fn answered(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = in_time("an answer", stream.read(&mut answer)).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

fn session(bytes: usize) -> CreateClientSessionRequest {
    CreateClientSessionRequest {
        inbox_identifier: "inbox-a".to_owned(),
        name: Some("x".repeat(bytes)),
        ..Default::default()
    }
}

async fn requests_beyond_the_memory_budget_are_refused(backend: Backend) {
    let app = small(backend, "").await;
    let mut anonymous = Clients::new(&app.server.listeners.grpc, None).client;
    // The first request holds almost the whole budget while its body is incomplete, so the second is refused. If the server happens to
    // handle the second one first, try both again.
    let waiting = in_time("a refusal before the body is read", async {
        loop {
            let waiting = begun(&app, 7 * MIB / 2).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut refused = begun(&app, MIB).await;
            if let Ok(answer) = tokio::time::timeout(Duration::from_secs(2), answered(&mut refused)).await {
                assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
                assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
                return waiting;
            }
        }
    })
    .await;
    let fault = assert_refused(anonymous.create_client_session(session(MIB)).await, Code::ResourceExhausted, "BUSY");
    assert!(fault.retry, "{fault:?}");
    // Without a declared length, the request is refused once too much has arrived.
    let http = app.http().with_token("");
    let pieces = futures_util::stream::iter((0..16).map(|_| Ok::<_, std::io::Error>(vec![b' '; MIB / 16])));
    let request = http.request("POST", CONTACTS).header("content-type", "application/json");
    let answer = http.answer(request.body(reqwest::Body::wrap_stream(pieces))).await;
    assert_eq!(answer.status, 503);
    // Small requests still fit, and all requests do once the others have ended.
    assert_eq!(http.send("POST", CONTACTS, None).await.status, 200);
    drop(waiting);
    in_time("room again", async {
        while refused(anonymous.create_client_session(session(MIB)).await).code != Code::InvalidArgument {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn requests_that_expand_when_decoded_are_refused(backend: Backend) {
    let app = server(backend, "").await;
    let value = |kind| Value { kind: Some(kind) };
    let list = |values| value(Kind::ListValue(ListValue { values }));
    let object = |value| Struct {
        fields: [("a".to_owned(), value)].into(),
    };
    let inner = value(Kind::StructValue(object(Value::default())));
    for attributes in [object(list(vec![Value::default(); 1_900_000])), object(list(vec![inner; 250_000]))] {
        let request = CreateContactRequest {
            account_id: 1,
            custom_attributes: Some(attributes),
            ..Default::default()
        };
        let mut contacts = app.clients().contacts;
        let (grown, answer) = growth(&app.server, contacts.create_contact(request)).await;
        assert_eq!(answer.expect_err("a refusal").code(), Code::InvalidArgument);
        assert!(grown < REQUEST, "grew by {grown}");
    }
}

/// Shows that the tests above measure something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_budget_every_request_is_read() {
    let app = small(Backend::Sqlite, "request_memory").await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(begun(&app, 4 * MIB).await);
    }
    let http = app.http().with_token("");
    let request = http.request("POST", CONTACTS).header("content-type", "application/json");
    assert_eq!(http.answer(request.body(" ".repeat(MIB))).await.status, 200);
}

/// Shows that counting before decoding enforces the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_count_a_request_exceeds_the_memory_bound() {
    let app = server(Backend::Sqlite, "wire_budget").await;
    let values = vec![Value::default(); 1_900_000];
    let list = Value {
        kind: Some(Kind::ListValue(ListValue { values })),
    };
    let request = CreateContactRequest {
        account_id: 1,
        custom_attributes: Some(Struct {
            fields: [("a".to_owned(), list)].into(),
        }),
        ..Default::default()
    };
    let mut contacts = app.clients().contacts;
    let (grown, _) = growth(&app.server, contacts.create_contact(request)).await;
    assert!(grown > REQUEST, "grew by {grown}");
}
