//! Large requests and callers without a token must not monopolize the processors. The tests count the steps that were moved off the
//! workers, and the calls that waited.

use futures_util::future::join_all;
use parley_proto::{GetClientInboxRequest, ListMessagesRequest, client_service_client::ClientServiceClient};
use serde_json::json;

use crate::support::{
    api_fixture::incoming,
    app::{ADMINISTRATOR, TestApp},
    clients::Clients,
    database::Backend,
    http::client,
};

/// A text with as many characters as a message may have, and with more bytes than a worker processes itself.
fn large() -> String {
    "\u{1F600}".repeat(140_000)
}

/// The size limit of a body.
const BODY: usize = 4 * 1024 * 1024;

async fn start(switch: &str) -> TestApp {
    let builder = TestApp::builder(Backend::Sqlite).env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a");
    builder.env("PARLEY_FAULT_SWITCH", switch).start().await
}

/// A counter of `/metrics` with this text in its labels, or 0 if it has not been incremented yet.
async fn counted(app: &TestApp, name: &str, label: &str) -> f64 {
    let url = format!("http://{}/metrics", app.server.listeners.admin);
    let text = client().get(url).send().await.expect("metrics").text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(name) && line.contains(label));
    line.and_then(|line| line.rsplit(' ').next())
        .map_or(0.0, |number| number.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_and_responses_are_processed_off_the_workers() {
    for (switch, leaves) in [("", true), ("heavy_steps", false)] {
        let app = start(switch).await;
        let (fixture, http, clients) = (app.fixture(), app.http(), app.clients());
        let steps = async || counted(&app, "parley_heavy_steps_total", "").await;
        let conversation = fixture.talk().await;
        let path = format!("/conversations/{conversation}/messages");
        http.post(&path, &json!({"content": "short"})).await;
        http.send("GET", &format!("/api/v1/accounts/1{path}"), None).await;
        let mut before = steps().await;
        assert!(before < 0.5, "{switch}: {before} steps of small requests");
        let mut moved = Vec::new();
        http.post(&path, &json!({"content": large()})).await;
        for way in ["a JSON request", "a call", "a JSON answer", "an answer"] {
            match way {
                "a call" => drop(fixture.send(conversation, incoming(&large())).await.expect("it is accepted")),
                "a JSON answer" => drop(http.send("GET", &format!("/api/v1/accounts/1{path}"), None).await),
                "an answer" => {
                    let request = ListMessagesRequest {
                        account_id: 1,
                        conversation_id: conversation,
                        ..ListMessagesRequest::default()
                    };
                    clients.messages.clone().list_messages(request).await.expect("messages");
                }
                _ => {}
            }
            let now = steps().await;
            moved.push((way, now > before));
            before = now;
        }
        assert!(moved.iter().all(|(_, is_moved)| *is_moved == leaves), "{switch}: {moved:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_a_token_are_read_at_the_rate_of_the_address() {
    for (switch, waits) in [("", true), ("anonymous_turns", false)] {
        let app = start(switch).await;
        let paced = async || counted(&app, "parley_calls_delayed_total", "parley_reason=\"pace\"").await;
        let send = async |path: &str, token: Option<&str>| {
            let request = client().post(format!("http://{}{path}", app.server.listeners.http));
            let request = token
                .into_iter()
                .fold(request, |request, token| request.header("api_access_token", token));
            let request = request.header("content-type", "application/json").body("[".repeat(BODY));
            request.send().await.expect("an answer").status().as_u16()
        };
        // Makes the server cache the token as valid.
        app.fixture().talk().await;
        for _ in 0..6 {
            assert_eq!(send("/api/v1/accounts/1/contacts", Some(ADMINISTRATOR)).await, 400);
        }
        assert!(paced().await < 0.5, "{switch}: callers with a token are not slowed down");
        for _ in 0..6 {
            assert_eq!(send("/public/api/v1/inboxes/inbox-a/contacts", None).await, 400);
        }
        assert_eq!(paced().await > 0.5, waits, "{switch}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_token_take_turns() {
    for (switch, waits) in [("", true), ("anonymous_turns", false)] {
        let app = start(switch).await;
        let stranger = ClientServiceClient::new(Clients::new(&app.server.listeners.grpc, None).service);
        let turns = async || counted(&app, "parley_calls_delayed_total", "parley_reason=\"turn\"").await;
        let url = format!("http://{}/public/api/v1/inboxes/inbox-a", app.server.listeners.http);
        let mut delayed = 0.0;
        for by_json in [true, false, true, false] {
            let calls = (0..300).map(|_| async {
                if by_json {
                    let answer = client().get(&url).send().await.expect("an answer");
                    assert_eq!(answer.status(), 200);
                } else {
                    let request = GetClientInboxRequest {
                        inbox_identifier: "inbox-a".to_owned(),
                    };
                    stranger.clone().get_client_inbox(request).await.expect("an inbox");
                }
            });
            join_all(calls).await;
            let now = turns().await;
            assert_eq!(now > delayed, waits, "{switch}, by JSON: {by_json}");
            delayed = now;
        }
        // A completed call releases its turn: otherwise this one would wait.
        assert_eq!(client().get(&url).send().await.expect("an answer").status(), 200);
    }
}
