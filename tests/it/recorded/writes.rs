//! The SQL statements with which calls write, taken from their traces: those of the writer's store, and those that a unit of work adds.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::is_recorded;
use crate::{
    plans::spans::Spans,
    support::{app::TestApp, database::Backend, http::Http, on_both},
};

on_both!(write_statements_match_the_snapshot);

/// Makes calls one after another, and records what each writes.
struct Recorder {
    spans: Spans,
    http: Http,
    calls: u128,
    text: String,
}

impl Recorder {
    /// Makes a call on the first account, and records its statements under `name`.
    async fn call(&mut self, name: &str, method: &str, path: &str, body: Json) -> Json {
        self.calls += 1;
        let request = self.http.request(method, &format!("/api/v1/accounts/1/{path}")).json(&body);
        let answer = self.http.answer(request.header("traceparent", Spans::parent(self.calls))).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        let _ = writeln!(self.text, "== {name}");
        for statement in self.spans.statements(self.calls).await {
            let words: Vec<&str> = statement.split_whitespace().collect();
            // Reads depend on the content of the caches.
            if words.first().is_some_and(|word| *word != "SELECT") {
                let _ = writeln!(self.text, "{}", words.join(" "));
            }
        }
        answer.body
    }
}

async fn write_statements_match_the_snapshot(backend: Backend) {
    let (spans, address) = Spans::start().await;
    let app = TestApp::builder(backend)
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &address)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        // The default filter excludes the spans of SQL statements.
        .env("PARLEY_LOG_FILTER", "info")
        .start()
        .await;
    let mut recorder = Recorder {
        spans,
        http: app.http(),
        calls: 0,
        text: String::new(),
    };
    let contact = json!({"inbox_id": 1, "name": "Asha Rao", "email": "asha@example.com", "custom_attributes": {"plan": "gold"}});
    let created = recorder.call("create a contact", "POST", "contacts", contact).await;
    let id = created["payload"]["contact"]["id"].as_i64().expect("a contact");
    let source = &created["payload"]["contact_inbox"]["source_id"];
    let path = format!("contacts/{id}");
    recorder
        .call("change a contact", "PUT", &path, json!({"name": "Asha R. Rao"}))
        .await;
    let opening = json!({"source_id": source, "inbox_id": 1, "contact_id": id});
    let conversation = recorder.call("create a conversation", "POST", "conversations", opening).await;
    let path = format!("conversations/{}", conversation["id"]);
    let messages = format!("{path}/messages");
    for kind in ["incoming", "outgoing"] {
        let name = format!("create a message, {kind}");
        let message = recorder
            .call(
                &name,
                "POST",
                &messages,
                json!({"content": "My order has not arrived", "message_type": kind}),
            )
            .await;
        if kind == "outgoing" {
            let name = "delete a message";
            recorder
                .call(name, "DELETE", &format!("{messages}/{}", message["id"]), Json::Null)
                .await;
        }
    }
    for (name, verb, body) in [
        ("resolve a conversation", "toggle_status", json!({"status": "resolved"})),
        ("assign a conversation", "assignments", json!({"assignee_id": 1})),
        ("label a conversation", "labels", json!({"labels": ["billing"]})),
        (
            "set attributes of a conversation",
            "custom_attributes",
            json!({"custom_attributes": {"order": 7}}),
        ),
        ("see a conversation", "update_last_seen", json!({})),
    ] {
        recorder.call(name, "POST", &format!("{path}/{verb}"), body).await;
    }
    recorder
        .call("create a label", "POST", "labels", json!({"title": "billing", "color": "#1f93ff"}))
        .await;
    is_recorded("writes", backend, &recorder.text);
}
