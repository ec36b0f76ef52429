//! Every route has a golden success and a golden error.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value as Json;

use crate::support::{app::TestApp, database::Backend, description::Description};

#[tokio::test]
async fn every_route_has_golden_exchanges() {
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    let description = http.description().await;
    let seen = recorded(description);
    let mut lacking = Vec::new();
    for (method, path) in description.operations() {
        // PUT is an alias of PATCH, the routes of the API description refuse nobody, and the response of the event stream never ends.
        if method == "PUT" || !path.contains("/api/v1/") || path.ends_with("/events") {
            continue;
        }
        for (succeeded, word) in [(true, "success"), (false, "refusal")] {
            if !seen.contains(&(method.clone(), path.clone(), succeeded)) {
                lacking.push(format!("{method} {path} has no golden {word}"));
            }
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

/// The method, the path template and the success of every recorded exchange.
fn recorded(description: &Description) -> BTreeSet<(String, String, bool)> {
    let mut seen = BTreeSet::new();
    for exchange in exchanges() {
        let request = exchange["request"].as_str().expect("a request is a text");
        let (method, path) = request.split_once(' ').expect("a method and a path");
        if let Some(template) = description.template(path) {
            let succeeded = exchange["status"].as_u64().is_some_and(|status| status < 400);
            seen.insert((method.to_owned(), template.to_owned(), succeeded));
        }
    }
    seen
}

/// Every recorded exchange, sorted by the file names of the snapshots.
pub fn exchanges() -> Vec<Json> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/snapshots");
    let files = fs::read_dir(folder).expect("there are snapshots");
    let mut paths: Vec<_> = files.map(|entry| entry.expect("the folder is readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "snap"));
    paths.sort();
    let read = |path| {
        let text = fs::read_to_string(path).expect("a snapshot is readable");
        let (_, body) = text[3..].split_once("---\n").expect("a snapshot has a head");
        serde_json::from_str::<Vec<Json>>(body).expect("a snapshot is JSON")
    };
    paths.iter().flat_map(read).collect()
}
