//! `docs/limits.md` lists every entry point with the numbers of the configuration.

use parley_proto::DESCRIPTORS;
use prost::Message as _;

use crate::support::{app::TestApp, database::Backend};

const PAGE: &str = include_str!("../../../../docs/limits.md");

/// The rows of the table below a heading, as cells.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).expect("the page has this section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    // The first two lines are the header.
    lines.skip(2).map(cells).collect()
}

/// The code spans of a cell.
fn spans(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

fn covered() -> Vec<&'static str> {
    rows("Entries").iter().flat_map(|cells| spans(cells[1])).collect()
}

#[test]
fn limits_page_covers_every_rpc() {
    let covered = covered();
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
    let mut missing = Vec::new();
    let mut count = 0;
    for file in set.file.iter().filter(|file| file.package() == "parley.v1") {
        for service in &file.service {
            for method in &service.method {
                count += 1;
                let name = format!("{}.{}", service.name(), method.name());
                let all = format!("{}.*", service.name());
                let is_stream = method.client_streaming() || method.server_streaming();
                // A stream has its own limits, so it needs its own row.
                if !covered.contains(&name.as_str()) && (is_stream || !covered.contains(&all.as_str())) {
                    missing.push(name);
                }
            }
        }
    }
    assert!(count > 100, "{count} methods");
    assert!(missing.is_empty(), "docs/limits.md has no row for {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_page_covers_every_route() {
    let app = TestApp::start(Backend::Sqlite).await;
    let covered = covered();
    let document = app.http().send("GET", "/openapi.json", None).await.body;
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 50, "{} routes", paths.len());
    let others = ["/openapi.json", "/docs", "/docs/api", "/cable", "/livez", "/readyz", "/metrics"].map(str::to_owned);
    for path in paths.keys().cloned().chain(others) {
        let has_row = covered.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == *entry,
        });
        assert!(has_row, "docs/limits.md has no row for {path}");
    }
}

#[test]
fn limits_page_has_the_configured_numbers() {
    let defaults: toml::Table = include_str!("../../../../src/config.default.toml")
        .parse()
        .expect("the defaults are TOML");
    let mut named = Vec::new();
    for heading in ["Callers without a token", "Callers with a token", "All callers together"] {
        for cells in rows(heading) {
            let key = spans(cells[0]).next().expect("a key");
            let (table, name) = key.split_once('.').expect("a key has a table");
            let value = defaults[table][name].as_integer().expect("a number");
            assert_eq!(cells[1].parse(), Ok(value), "docs/limits.md about {key}");
            named.push(key);
        }
    }
    let (_, page) = PAGE.split_once("# Limits").expect("the page");
    for (name, value) in defaults["limits"].as_table().expect("a table") {
        let key = format!("limits.{name}");
        assert!(
            !value.is_integer() || named.contains(&key.as_str()) || page.contains(&format!("`{key}`")),
            "docs/limits.md does not name {key}"
        );
    }
}
