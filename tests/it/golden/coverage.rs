//! The operations of Chatwoot's API description against those that are served: each is served, or is listed as not served with an
//! alternative.

use std::collections::BTreeSet;

use super::contract::shape;
use crate::support::{app::TestApp, database::Backend};

/// The method and path of every operation, one per line.
const OPERATIONS: &str = include_str!("chatwoot_operations.txt");
/// The page with the table of what is not served.
const PAGE: &str = include_str!("../../../docs/json-api-coverage.md");

type Operation = (String, String);

/// Parses `METHOD path`. A trailing slash makes no difference.
fn operation(text: &str) -> Option<Operation> {
    let (method, path) = text.split_once(' ')?;
    let is_operation = method.bytes().all(|byte| byte.is_ascii_uppercase()) && path.starts_with('/');
    is_operation.then(|| (method.to_owned(), shape(path.trim_end_matches('/'))))
}

/// The operations in the table, whose columns are resource, operations and alternative.
fn listed() -> BTreeSet<Operation> {
    let mut listed = BTreeSet::new();
    let (_, after) = PAGE.split_once("\n## Not served\n").expect("the page has the table");
    let (table, _) = after.split_once("\n## ").expect("another section follows");
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, operations, instead] = cells[..] else {
            panic!("three cells: {row}");
        };
        assert!(!instead.is_empty(), "says what to use instead: {row}");
        listed.extend(operations.split('`').filter_map(operation));
    }
    listed
}

#[tokio::test]
async fn every_chatwoot_operation_is_served_or_listed() {
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    let served: BTreeSet<Operation> = http
        .description()
        .await
        .operations()
        .into_iter()
        .map(|(method, path)| (method, shape(&path)))
        .collect();
    let known: BTreeSet<Operation> = OPERATIONS.lines().filter_map(operation).collect();
    assert!(known.len() > 150, "the list is whole: {}", known.len());
    let listed = listed();
    let missing: Vec<_> = known
        .iter()
        .filter(|one| !served.contains(*one) && !listed.contains(*one))
        .collect();
    assert!(
        missing.is_empty(),
        "neither served nor listed in docs/json-api-coverage.md: {missing:#?}"
    );
    let stale: Vec<_> = listed.iter().filter(|one| served.contains(*one)).collect();
    assert!(
        stale.is_empty(),
        "served, and still listed in docs/json-api-coverage.md: {stale:#?}"
    );
    let unknown: Vec<_> = listed.difference(&known).collect();
    assert!(unknown.is_empty(), "listed, and no operation of Chatwoot: {unknown:#?}");
}
