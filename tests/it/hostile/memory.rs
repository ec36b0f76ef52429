//! The memory that one request or connection can take before its caller is authenticated.

mod bodies;
mod budget;
mod cable;
mod errors;
mod multipart;
mod reflection;
mod shares;
mod slow;

use serde_json::json;

use crate::support::{app::TestApp, database::Backend, server::Server};

/// The default size limit of a body.
const BODY: usize = 4 * 1024 * 1024;

/// The memory that one request may take: 8 times its size limit plus 8 MiB.
const REQUEST: usize = 8 * BODY + 8 * 1024 * 1024;

/// A field of `/proc/PID/status`, in bytes.
fn figure(server: &Server, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("the server runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("a figure of the process");
    let kilobytes: usize = line
        .trim_matches([':', ' ', '\t', 'k', 'B'])
        .trim()
        .parse()
        .expect("a number of kilobytes");
    1024 * kilobytes
}

/// The maximum growth of the server's resident memory while `attack` runs, and the result of `attack`.
async fn growth<T>(server: &Server, attack: impl Future<Output = T>) -> (usize, T) {
    // Resets the peak.
    std::fs::write(format!("/proc/{}/clear_refs", server.id()), "5").expect("the peak is reset");
    let before = figure(server, "VmRSS");
    let outcome = attack.await;
    (figure(server, "VmHWM").saturating_sub(before), outcome)
}

/// A server with an inbox whose identifier every visitor knows, with one protection turned off if `without` names it.
async fn server(backend: Backend, without: &str) -> TestApp {
    TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .env("PARLEY_FAULT_SWITCH", without)
        .start()
        .await
}

/// The path of that inbox's contacts in the client API.
const CONTACTS: &str = "/public/api/v1/inboxes/inbox-a/contacts";

/// Creates a visitor with a conversation. Returns the path of its messages.
async fn visitor(app: &TestApp) -> String {
    let http = app.http().with_token("");
    let made = http.send("POST", CONTACTS, Some(&json!({"name": "Asha"}))).await.body;
    let conversations = format!("{CONTACTS}/{}/conversations", made["source_id"].as_str().expect("a session"));
    let conversation = http.send("POST", &conversations, None).await.body;
    format!("{conversations}/{}/messages", conversation["id"])
}
