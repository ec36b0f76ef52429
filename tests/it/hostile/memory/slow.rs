//! Bodies and request heads that arrive one byte at a time.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::CONTACTS;
use crate::support::{app::TestApp, database::Backend, in_time};

/// The number of bytes after which the attack gives up. At one byte every 200 ms, no pause between two bytes reaches the idle timeout.
const BYTES: usize = 100;

async fn server(without: &str) -> TestApp {
    TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .env("PARLEY_LIMITS_BODY_TIMEOUT_SECONDS", "1")
        .env("PARLEY_FAULT_SWITCH", without)
        .start()
        .await
}

/// Sends `head`, and then one byte after another until the server responds or closes the connection. Returns the response and the number of
/// bytes, or `None` if the server accepts all [`BYTES`].
async fn trickle(address: &str, head: &[u8], byte: &[u8]) -> Option<(String, usize)> {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(head).await.expect("the head is sent");
    let (mut reader, mut writer) = stream.split();
    let mut answer = vec![0; 4096];
    for sent in 0..BYTES {
        // An error or the end of the stream means that the server closed the connection.
        let _ = writer.write_all(byte).await;
        let pause = Duration::from_millis(200);
        if let Ok(read) = tokio::time::timeout(pause, reader.read(&mut answer)).await {
            return Some((String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned(), sent));
        }
    }
    None
}

fn json() -> Vec<u8> {
    format!("POST {CONTACTS} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n").into_bytes()
}

/// A gRPC-Web message of 1,000 bytes, up to its first byte. The test uses gRPC-Web because it can be written to a plain socket.
fn message() -> Vec<u8> {
    let head = "POST /parley.v1.ClientService/GetClientInbox HTTP/1.1\r\nhost: test\r\ncontent-type: application/grpc-web+proto\r\n\
                content-length: 1005\r\n\r\n";
    [head.as_bytes(), &[0, 0, 0, 3, 0xe8]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_arrive_byte_by_byte_time_out() {
    let app = server("").await;
    let (answer, _) = in_time("an end", trickle(&app.server.listeners.http, &json(), b" "))
        .await
        .expect("an end");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let (answer, _) = in_time("an end", trickle(&app.server.listeners.grpc, &message(), &[0]))
        .await
        .expect("an end");
    assert!(answer.contains("grpc-status: 4"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_limit_slow_bodies_do_not_time_out() {
    let app = server("body_time").await;
    let (http, grpc) = (app.server.listeners.http.clone(), app.server.listeners.grpc.clone());
    let (head, message) = (json(), message());
    let (body, message) = tokio::join!(trickle(&http, &head, b" "), trickle(&grpc, &message, &[0]));
    assert_eq!((body, message), (None, None));
}

/// For a request head, the total time is limited, not the pause between two bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_heads_that_arrive_byte_by_byte_time_out() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_HTTP_IDLE_TIMEOUT_SECONDS", "1")
        .start()
        .await;
    for address in [&app.server.listeners.http, &app.server.listeners.admin] {
        let head = b"GET / HTTP/1.1\r\nx: ";
        assert!(in_time("an end", trickle(address, head, b"x")).await.is_some(), "{address}");
    }
}
