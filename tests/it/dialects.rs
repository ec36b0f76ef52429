//! Differences between the databases have one place: `crates/storage/src/dialect`. Elsewhere no source asks which database it speaks to.

use std::{collections::BTreeSet, fs, path::Path};

/// Names by which a source could tell the databases apart.
const NAMES: [&str; 5] = [
    "DbBackend",
    "DatabaseBackend",
    "get_database_backend",
    "Backend::Sqlite",
    "Backend::Postgres",
];

/// Sources and folders that may, each with the reason.
const ALLOWED: [(&str, &str); 5] = [
    ("crates/storage/src/dialect/", "the dialects"),
    ("crates/storage/src/connect.rs", "pools and connections of one database each"),
    ("crates/storage/src/migration/", "released migrations do not change"),
    ("crates/domain/src/write/", "statements of the writer"),
    ("crates/domain/src/messages/", "statements of the writer"),
];

#[test]
fn only_dialects_tell_databases_apart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut used, mut found) = (BTreeSet::new(), Vec::new());
    for (file, text) in sources(root) {
        // A unit test chooses the database that it runs on.
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let Some(name) = NAMES.into_iter().find(|name| code.contains(name)) else {
            continue;
        };
        match ALLOWED.into_iter().find(|(allowed, _)| file.starts_with(allowed)) {
            Some((allowed, _)) => {
                used.insert(allowed);
            }
            None => found.push(format!("{file}: {name}")),
        }
    }
    assert!(
        found.is_empty(),
        "ask `Dialect` for what differs, or add it there (docs/decisions/0025-dialects-in-one-module.md):\n{}",
        found.join("\n")
    );
    for required in [
        "crates/storage/src/dialect/",
        "crates/storage/src/connect.rs",
        "crates/storage/src/migration/",
    ] {
        assert!(
            used.contains(required),
            "{required} names no database any more: take it off the list"
        );
    }
}

/// The Rust sources of the service and its libraries, by path below the root.
fn sources(root: &Path) -> Vec<(String, String)> {
    let crates = fs::read_dir(root.join("crates")).expect("crates/ is readable");
    let mut pending: Vec<_> = crates
        .map(|entry| entry.expect("crates/ is readable").path().join("src"))
        .filter(|folder| folder.is_dir())
        .collect();
    assert!(pending.len() > 10, "the crates were not found");
    pending.push(root.join("src"));
    let mut found = Vec::new();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("sources are readable") {
            let path = entry.expect("sources are readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("it is below the root");
                let text = fs::read_to_string(&path).expect("sources are readable");
                found.push((name.to_string_lossy().into_owned(), text));
            }
        }
    }
    found
}
