//! JSON bodies and forms whose parsed trees or error reports are many times their size.

use reqwest::header::CONTENT_TYPE;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{BODY, CONTACTS, REQUEST, growth, server};
use crate::support::{database::Backend, on_both};

on_both!(
    json_takes_memory_in_proportion_to_its_size,
    forms_take_memory_in_proportion_to_their_size
);

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Repeats `item` until the body almost reaches the size limit.
fn filled(before: &str, item: &str, after: &str) -> String {
    let count = (BODY - before.len() - after.len()) / item.len() - 1;
    format!("{before}{}{after}", item.repeat(count))
}

async fn json_takes_memory_in_proportion_to_its_size(backend: Backend) {
    let app = server(backend, "").await;
    let http = app.http().with_token("");
    let numbers = |key: usize, count: usize| format!("{{\"{}\":[{}]}}", "k".repeat(key), vec!["1e999"; count].join(","));
    let keys: Vec<String> = (0..300_000).map(|key| format!("\"{key:x}\":0,")).collect();
    let keys = keys.concat();
    let bodies = [
        // The two bodies of the original report.
        numbers(20_000, 10_000),
        numbers(1_000_000, 400_000),
        numbers(500, 400_000),
        filled("{\"a\":[", "0,", "0]}"),
        filled("{\"a\":[", "{\"\":0},", "0]}"),
        filled("{\"custom_attributes\":{\"a\":[", "[],", "0]}}"),
        format!("{{\"custom_attributes\":{{{keys}\"z\":0}}}}"),
        filled("", "{\"a\":", ""),
        filled("", "[", ""),
        filled("{\"a\":", "1", "}"),
    ];
    for path in ["/public/api/v1/inboxes/inbox-a/contacts", "/public/api/v1/inboxes/nobody/contacts"] {
        for body in &bodies {
            let request = http.request("POST", path).header(CONTENT_TYPE, JSON).body(body.clone());
            let (grown, answer) = growth(&app.server, http.answer(request)).await;
            let what = format!("{path} {} … ({} bytes)", &body[..20], body.len());
            assert!(
                matches!(answer.status, 400 | 404 | 422),
                "{what}: {} {}",
                answer.status,
                answer.body
            );
            assert!(grown < REQUEST, "{what}: grew by {grown}");
        }
    }
    assert_eq!(http.send("POST", CONTACTS, None).await.status, 200);
}

async fn forms_take_memory_in_proportion_to_their_size(backend: Backend) {
    let app = server(backend, "").await;
    let http = app.http().with_token("");
    let deep = format!("a[]{}=&", "[b]".repeat(20));
    for body in [
        filled("", "a[]=&", ""),
        filled("", &deep, ""),
        filled("", "a", "=1"),
        filled("a", "[]", "=1"),
    ] {
        let request = http.request("POST", CONTACTS).header(CONTENT_TYPE, FORM).body(body.clone());
        let (grown, answer) = growth(&app.server, http.answer(request)).await;
        assert_eq!(answer.status, 400, "{}: {}", &body[..20], answer.body);
        assert!(grown < REQUEST, "{}: grew by {grown}", &body[..20]);
    }
    let query = format!("{CONTACTS}?{}", "a[]=&".repeat(5000));
    assert_eq!(http.send("POST", &query, None).await.status, 400);
}

/// Shows that the tests above measure something: without the limits, the smaller body of the report takes more memory than a request may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_limits_a_small_body_exceeds_the_memory_bound() {
    let app = server(Backend::Sqlite, "request_tree").await;
    let http = app.http().with_token("");
    let body = format!("{{\"{}\":[{}]}}", "k".repeat(20_000), vec!["1e999"; 10_000].join(","));
    let request = http.request("POST", CONTACTS).header(CONTENT_TYPE, JSON).body(body);
    let (grown, _) = growth(&app.server, http.answer(request)).await;
    assert!(grown > REQUEST, "grew by {grown}");
}

/// Sends a body in chunks of one byte each. Returns the status line.
async fn in_single_bytes(address: &str, size: usize) -> String {
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(size));
    let chunks: Vec<u8> = body.bytes().flat_map(|byte| [b'1', b'\r', b'\n', byte, b'\r', b'\n']).collect();
    let head = format!(
        "POST {CONTACTS} HTTP/1.1\r\nhost: test\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.expect("the listener is there");
    let sent = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&chunks).await?;
        stream.write_all(b"0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    // A debug build is slow with so many chunks.
    let answer = tokio::time::timeout(std::time::Duration::from_mins(4), sent).await;
    let answer = answer.expect("an answer comes").expect("it arrives");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// A body is charged 8 bytes per byte, however it is split into chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body_in_single_byte_chunks_takes_no_extra_memory() {
    let size = 640 * 1024;
    for (is_on, switch) in [(true, ""), (false, "body_pieces")] {
        let app = server(Backend::Sqlite, switch).await;
        // Allocations that only a first request makes.
        in_single_bytes(&app.server.listeners.http, 10_000).await;
        let (grown, status) = growth(&app.server, in_single_bytes(&app.server.listeners.http, size)).await;
        assert_eq!(status, "HTTP/1.1 422 Unprocessable Entity");
        assert_eq!(grown < 8 * size + 8 * 1024 * 1024, is_on, "grew by {grown}");
    }
}
