//! Preambles and part headers without an end, and bodies of callers that are refused anyway.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{CONTACTS, REQUEST, growth, server, visitor};
use crate::support::{app::TestApp, database::Backend, in_time, on_both};

on_both!(
    unbounded_preambles_and_part_headers_are_refused,
    bodies_of_refused_callers_are_not_read,
    no_file_is_stored_for_a_missing_conversation,
    many_parts_are_not_read_far_ahead,
    unexpected_files_are_limited_in_number
);

const HEADER: &str = "--x\r\nContent-Disposition: form-data; name=\"";

/// The maximum number of bytes that an attack sends.
const FLOOD: usize = 64 * 1024 * 1024;

/// The head of a chunked multipart request.
fn head(path: &str, token: &str) -> String {
    let token = if token.is_empty() {
        String::new()
    } else {
        format!("api_access_token: {token}\r\n")
    };
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\n{token}content-type: multipart/form-data; boundary=x\r\ntransfer-encoding: chunked\r\n\r\n"
    )
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends a head and then `filler` endlessly, until a response arrives. Returns the status and the number of bytes that the server accepted.
async fn flood(address: &str, head: &str, start: &str, filler: u8) -> (u16, usize) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let (mut reader, mut writer) = stream.split();
    let sent = AtomicUsize::new(0);
    let sending = async {
        writer.write_all(head.as_bytes()).await?;
        if !start.is_empty() {
            writer.write_all(&chunk(start.as_bytes())).await?;
        }
        let piece = chunk(&[filler; 16 * 1024]);
        while sent.load(Ordering::Relaxed) < FLOOD {
            writer.write_all(&piece).await?;
            sent.fetch_add(piece.len(), Ordering::Relaxed);
        }
        std::io::Result::Ok(())
    };
    let mut answer = [0; 12];
    let receiving = reader.read_exact(&mut answer);
    tokio::pin!(sending, receiving);
    let answered = in_time("an answer", async {
        tokio::select! {
            received = &mut receiving => received,
            _ = &mut sending => receiving.await,
        }
    })
    .await;
    answered.expect("an answer before the connection ends");
    let text = String::from_utf8_lossy(&answer);
    (
        text[9..].parse().unwrap_or_else(|_| panic!("no status: {text}")),
        sent.load(Ordering::Relaxed),
    )
}

async fn unbounded_preambles_and_part_headers_are_refused(backend: Backend) {
    let app = server(backend, "").await;
    let messages = visitor(&app).await;
    for start in ["", HEADER] {
        for filler in [b'a', b'-', b'\r'] {
            let head = head(&messages, "");
            let attack = flood(&app.server.listeners.http, &head, start, filler);
            let (grown, (status, sent)) = growth(&app.server, attack).await;
            assert_eq!(status, 400, "{start:?} {filler}");
            assert!(sent < FLOOD, "{start:?} {filler}: all of it was read");
            assert!(grown < REQUEST / 4, "{start:?} {filler}: grew by {grown}");
        }
    }
}

/// Each parsed part used to let the parser read further ahead: as much of the file that follows as the client sent.
async fn many_parts_are_not_read_far_ahead(backend: Backend) {
    let app = server(backend, "").await;
    let messages = visitor(&app).await;
    let field = "--x\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\na\r\n";
    let file = "--x\r\nContent-Disposition: form-data; name=\"attachments[]\"; filename=\"a.bin\"\r\n\r\n";
    let start = format!("{}{file}", field.repeat(3000));
    let head = head(&messages, "");
    let attack = flood(&app.server.listeners.http, &head, &start, b'a');
    let (grown, (status, sent)) = growth(&app.server, attack).await;
    assert_eq!(status, 422, "the file is too large");
    assert!(sent < FLOOD, "all of it was read");
    assert!(grown < REQUEST / 4, "grew by {grown}");
}

async fn unexpected_files_are_limited_in_number(backend: Backend) {
    let app = server(backend, "").await;
    let messages = visitor(&app).await;
    let visitors = app.http().with_token("");
    for (files, status) in [(100, 422), (101, 413)] {
        let form = (0..files).fold(reqwest::multipart::Form::new(), |form, number| {
            let file = reqwest::multipart::Part::bytes(vec![0]).file_name("a.bin");
            form.part(format!("nothing takes {number}"), file)
        });
        let answer = visitors.answer(visitors.request("POST", &messages).multipart(form)).await;
        assert_eq!(answer.status, status, "{files} files: {}", answer.body);
    }
}

/// For an unexpected file, the name of its field is kept. It has the limit of all names, both on routes that take files and on others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_unexpected_files_are_limited() {
    for switch in ["", "request_tree"] {
        let app = server(Backend::Sqlite, switch).await;
        let visitors = app.http().with_token("");
        for path in [visitor(&app).await.as_str(), CONTACTS] {
            let statuses = async |name: String, files: usize| {
                let form = (0..files).fold(reqwest::multipart::Form::new(), |form, _| {
                    form.part(name.clone(), reqwest::multipart::Part::bytes(vec![0]).file_name("a.bin"))
                });
                visitors.answer(visitors.request("POST", path).multipart(form)).await.status
            };
            assert_eq!(statuses("x".repeat(1025), 1).await == 400, switch.is_empty(), "{path}");
            assert_ne!(statuses("x".repeat(1024), 1).await, 400, "{path}");
            assert_eq!(statuses("x".to_owned(), 101).await, 413, "{path}");
        }
    }
}

/// Only the head and the beginning of a body are sent, so a response shows that the server did not wait for the rest.
async fn bodies_of_refused_callers_are_not_read(backend: Backend) {
    let app = server(backend, "").await;
    let account = "/api/v1/accounts/1";
    let (contacts, messages) = (format!("{account}/contacts"), format!("{account}/conversations/999/messages"));
    for (path, token, status) in [
        ("/public/api/v1/inboxes/nobody/contacts", "", 404),
        ("/public/api/v1/inboxes/nobody/contacts/nobody/conversations/1/messages", "", 404),
        ("/public/api/v1/inboxes/inbox-a/contacts/nobody/conversations/1/messages", "", 404),
        (contacts.as_str(), "", 401),
        (contacts.as_str(), "nobody's", 401),
        ("/api/v1/profile", "", 404),
        ("/api/v1/accounts/2/contacts", crate::support::app::ADMINISTRATOR, 401),
        (messages.as_str(), crate::support::app::ADMINISTRATOR, 404),
        ("/platform/api/v1/accounts", "nobody's", 401),
    ] {
        for kind in ["multipart/form-data; boundary=x", "application/json"] {
            if kind == "application/json" && path.ends_with("999/messages") {
                // A body that is not multipart is small enough to be read first.
                continue;
            }
            let head = head(path, token).replace("multipart/form-data; boundary=x", kind);
            assert_eq!(answered(&app, &head).await, status, "{path} {token} {kind}");
        }
    }
}

/// The status of the response to a head without its body.
async fn answered(app: &TestApp, head: &str) -> u16 {
    let mut stream = TcpStream::connect(&app.server.listeners.http).await.expect("the server listens");
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    stream.write_all(&chunk(b"{\"a\": ")).await.expect("the beginning is sent");
    let mut answer = [0; 12];
    in_time("an answer without the body", stream.read_exact(&mut answer))
        .await
        .expect("an answer before the connection ends");
    String::from_utf8_lossy(&answer[9..]).parse().expect("a status")
}

/// Shows that the test above measures something: the server waits for the body until it times out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_check_bodies_of_refused_callers_are_read() {
    for (switch, status) in [("", 401), ("early_check", 400)] {
        let app = TestApp::builder(Backend::Sqlite)
            .env("PARLEY_LIMITS_BODY_TIMEOUT_SECONDS", "1")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let head = head("/api/v1/accounts/1/contacts", "nobody's").replace("multipart/form-data; boundary=x", "application/json");
        assert_eq!(answered(&app, &head).await, status, "{switch}");
    }
}

/// Nothing is stored before the check that refuses the request.
async fn no_file_is_stored_for_a_missing_conversation(backend: Backend) {
    let app = server(backend, "").await;
    let messages = visitor(&app).await;
    let elsewhere = messages.replace("/conversations/1/", "/conversations/999/");
    assert_ne!(messages, elsewhere);
    let visitors = app.http().with_token("");
    for (http, path) in [
        (&visitors, elsewhere.as_str()),
        (&app.http(), "/api/v1/accounts/1/conversations/999/messages"),
    ] {
        let file = reqwest::multipart::Part::bytes(vec![0; 100_000]).file_name("a.bin");
        let form = reqwest::multipart::Form::new().part("attachments[]", file);
        assert_eq!(http.answer(http.request("POST", path).multipart(form)).await.status, 404);
    }
    assert_eq!(stored(&app.home().join("files")), 0, "files were stored");
    let form = reqwest::multipart::Form::new().part("attachments[]", reqwest::multipart::Part::bytes(vec![0; 1000]).file_name("a.bin"));
    assert_eq!(
        visitors.answer(visitors.request("POST", &messages).multipart(form)).await.status,
        200
    );
    assert!(stored(&app.home().join("files")) > 0, "the test looks where files lie");
}

/// The number of files below a folder.
fn stored(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .map(|entry| entry.expect("the folder can be read").path())
        .map(|path| if path.is_dir() { stored(&path) } else { 1 })
        .sum()
}

/// Shows that the tests above measure something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_meter_a_part_header_exceeds_the_memory_bound() {
    let app = server(Backend::Sqlite, "multipart_ahead").await;
    let messages = visitor(&app).await;
    let head = head(&messages, "");
    let attack = flood(&app.server.listeners.http, &head, HEADER, b'a');
    let (grown, _) = growth(&app.server, tokio::time::timeout(std::time::Duration::from_secs(20), attack)).await;
    assert!(grown > REQUEST / 4, "grew by {grown}");
}
