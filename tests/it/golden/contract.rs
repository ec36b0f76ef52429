//! The routes of the contract against those that are served, and the table in the documentation.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use crate::roles::policy;
use crate::support::{app::TestApp, database::Backend, description::Description};

/// The section, method and path of every route in the contract, one per line. Sections of its second document begin with `client`.
const CONTRACT: &str = include_str!("contract.txt");

const TABLE: &str = "docs/json-api.md";

struct Promised {
    section: &'static str,
    method: &'static str,
    path: &'static str,
}

fn promised() -> Vec<Promised> {
    let lines = CONTRACT.lines().map(|line| {
        let (section, call) = line.split_at(11);
        let (method, path) = call.split_once(' ').expect("a method and a path");
        Promised {
            section: section.trim(),
            method,
            path: path.trim(),
        }
    });
    lines.collect()
}

/// A path without the names of its parameters.
pub fn shape(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_of_the_contract_is_served() {
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    let description = http.description().await;
    let served: BTreeSet<_> = description
        .operations()
        .into_iter()
        .map(|(method, path)| (method, shape(&path)))
        .collect();
    let missing: BTreeSet<String> = promised()
        .iter()
        .filter(|route| !served.contains(&(route.method.to_owned(), shape(route.path))))
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert!(missing.is_empty(), "not served: {missing:#?}");
}

#[tokio::test]
async fn documented_route_table_matches_the_served_routes() {
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    let table = table(http.description().await);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &table).expect("the documents can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, table, "{TABLE} is not what UPDATE_SNAPSHOTS=1 would write");
}

fn table(description: &Description) -> String {
    let mut text = String::from(
        "# REST API routes\n\n\
         Every REST route and the gRPC method that it calls. [json-api-coverage.md](json-api-coverage.md) lists the operations of\n\
         Chatwoot's API that are not served, and the release for which that holds; [json-api-differences.md](json-api-differences.md) lists deliberate\n\
         differences. `/openapi.json` describes each route in full, and `/docs/api` renders it. This file is\n\
         generated from the routes (`UPDATE_SNAPSHOTS=1 cargo test --test it golden::contract`).\n\n\
         | section | route | method | served | tokens that may call it |\n| --- | --- | --- | --- | --- |\n",
    );
    let mut told = BTreeSet::new();
    for Promised { section, method, path } in promised() {
        let operation = operation(description, method, path);
        told.insert((method.to_owned(), shape(path)));
        let (call, served, caller) = match operation {
            Some(operation) => (operation["x-parley-rpc"].as_str().unwrap_or("none"), "yes", callers(operation)),
            None => ("", "no", String::new()),
        };
        let _ = writeln!(text, "| {section} | `{method} {path}` | {call} | {served} | {caller} |");
    }
    text.push_str("\nRoutes beyond Chatwoot's documentation:\n\n| route | method | tokens that may call it |\n| --- | --- | --- |\n");
    for (method, path) in description.operations() {
        if method == "PUT" || told.contains(&(method.clone(), shape(&path))) {
            continue;
        }
        let operation = &description.document()["paths"][&path][method.to_ascii_lowercase()];
        let call = operation["x-parley-rpc"].as_str().unwrap_or("none");
        let caller = callers(operation);
        let _ = writeln!(text, "| `{method} {path}` | {call} | {caller} |");
    }
    text
}

/// The kinds of tokens that may call a route: those in its description, and bots if the policy of its method names them.
fn callers(operation: &serde_json::Value) -> String {
    let caller = operation["x-parley-caller"].as_str().unwrap_or_default();
    let for_bots = operation["x-parley-rpc"].as_str().is_some_and(|rpc| policy::named(rpc).bots);
    if for_bots { format!("{caller}, bot") } else { caller.to_owned() }
}

fn operation<'a>(description: &'a Description, method: &str, path: &str) -> Option<&'a serde_json::Value> {
    let paths = description.document()["paths"].as_object()?;
    let (_, methods) = paths.iter().find(|(served, _)| shape(served) == shape(path))?;
    methods.get(method.to_ascii_lowercase())
}
