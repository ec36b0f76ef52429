//! The table of docs/front-ends.md against the routes: calls that it lists as served have a route, calls that it lists as empty return an
//! empty list to every member, and calls that it lists as 404 have no route.

use std::collections::BTreeSet;

use parley_proto::Role;
use serde_json::Value as Json;

use crate::support::{app::TestApp, database::Backend, office::worker};

const PAGE: &str = include_str!("../../../docs/front-ends.md");
/// The heading of the routes that return empty lists.
const ABSENT: &str = "Absent features";

/// A row: the call, its caller, and the documented response.
struct Row {
    method: &'static str,
    path: &'static str,
    answer: &'static str,
}

fn rows() -> Vec<Row> {
    let (_, table) = PAGE.split_once("\n## Calls\n").expect("the page has the table");
    let lines = table.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [call, callers, answer, why] = cells[..] else {
                panic!("four cells: {line}");
            };
            assert!(!callers.is_empty(), "{line}");
            assert!(answer == "served" || !why.is_empty(), "says why: {line}");
            let (method, path) = call.trim_matches('`').split_once(' ').expect("a method and a path");
            Row { method, path, answer }
        })
        .collect()
}

/// A path with 1 for each parameter; no such resource needs to exist.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Whether a body is empty: no list in it has an entry, and every number other than page numbers and ids is 0.
fn is_empty(body: &Json) -> bool {
    match body {
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map
            .iter()
            .filter(|(key, _)| !["current_page", "account_id"].contains(&key.as_str()))
            .all(|(_, value)| is_empty(value)),
        Json::Number(number) => number.as_i64() == Some(0),
        Json::Null => true,
        Json::Bool(_) | Json::String(_) => false,
    }
}

#[tokio::test]
async fn front_ends_page_matches_the_routes() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    let http = app.http();
    let description = http.description().await;
    let operations: BTreeSet<(String, String)> = description.operations().into_iter().collect();
    let agent = http.with_token(&worker(&app, 1, Role::Agent, "Ola").await.token);
    let (mut wrong, mut empty) = (Vec::new(), BTreeSet::new());
    let rows = rows();
    assert!(rows.len() > 80, "the table is whole: {}", rows.len());
    for Row { method, path, answer } in &rows {
        let is_route = operations.contains(&((*method).to_owned(), (*path).to_owned()));
        let is_right = match *answer {
            "served" => is_route || *path == "/cable",
            "empty" | "one entry, off" => {
                let body = agent.send(method, &filled(path), None).await;
                empty.insert((*path).to_owned());
                is_route && body.status == 200 && (is_empty(&body.body) || *answer != "empty")
            }
            "404" => !is_route && http.send(method, &filled(path), None).await.status == 404,
            other => panic!("{other} is no answer of the table"),
        };
        if !is_right {
            wrong.push(format!("{method} {path} is not {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let all: BTreeSet<String> = operations
        .iter()
        .filter(|(method, path)| description.document()["paths"][path][method.to_ascii_lowercase()]["tags"][0] == ABSENT)
        .map(|(_, path)| path.clone())
        .collect();
    assert_eq!(
        empty, all,
        "the routes of features that are absent, and those that the page calls empty"
    );
}

/// Nothing can be created in a list that is always empty; for webhooks, the error names the alternative.
#[tokio::test]
async fn always_empty_lists_refuse_creation() {
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    for Row { path, .. } in rows().iter().filter(|row| row.answer == "empty") {
        for method in ["POST", "PATCH", "DELETE"] {
            let answer = http.send(method, &filled(path), Some(&serde_json::json!({"name": "x"}))).await;
            assert_eq!(
                (answer.status, &answer.body["status"]),
                (404, &serde_json::json!(404)),
                "{method} {path}"
            );
        }
    }
    let (_, refused) = http.try_post("/webhooks", &serde_json::json!({"url": "https://example.org"})).await;
    let text = refused["error"].as_str().expect("a text");
    assert!(text.starts_with("Not Found") && text.contains("events"), "{refused}");
}

/// `GET /api` returns the version that the coverage page documents.
#[tokio::test]
async fn api_version_matches_the_coverage_page() {
    let app = TestApp::start(Backend::Sqlite).await;
    let answer = app.http().with_token("").send("GET", "/api", None).await;
    let version = answer.body["version"].as_str().expect("a version");
    let release = version.rsplit_once('.').expect("a semantic version").0;
    let coverage = include_str!("../../../docs/json-api-coverage.md");
    assert!(coverage.contains(&format!("It holds for Chatwoot {release} ")), "{version}");
    assert!(PAGE.contains(&format!("`{version}`")), "{version}");
}
