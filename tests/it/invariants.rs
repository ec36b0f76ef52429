//! The code and the tests that the table of invariants names exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A row: what enforces the rule, each item with its file, and the tests.
struct Row {
    rule: String,
    enforced_by: Vec<(String, String)>,
    tests: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code spans of a cell.
fn code(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of all tables of the page, without their headers.
fn rows() -> Vec<Row> {
    let page = read(&root().join("docs/invariants.md"));
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [rule, enforced_by, tests] = cells[..] else {
            panic!("three cells in a row: {line}");
        };
        // Items precede the file that they are in.
        let mut items = Vec::new();
        let mut enforced = Vec::new();
        for text in code(enforced_by) {
            if text.contains('/') {
                enforced.extend(items.drain(..).map(|item| (item, text.clone())));
            } else {
                items.push(text);
            }
        }
        assert!(items.is_empty(), "{items:?} have no file: {line}");
        rows.push(Row {
            rule: rule.trim().to_owned(),
            enforced_by: enforced,
            tests: code(tests),
        });
    }
    rows
}

/// Whether a text defines an item. Anything that is not an identifier, such as a piece of SQL, only has to occur in it.
fn has(text: &str, item: &str) -> bool {
    if !item.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
        return text.contains(item);
    }
    let defined = |keyword: &str| {
        let start = format!("{keyword} {item}");
        text.match_indices(&start)
            .any(|(at, _)| text[at + start.len()..].starts_with(['(', '<', ':', ' ', ';']))
    };
    // A database setting appears as a string.
    ["fn", "const", "struct"].into_iter().any(defined) || text.contains(&format!("\"{item}\""))
}

/// The Rust sources below these folders.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable") {
            let path = entry.expect("the folder is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn invariants_name_existing_code_and_tests() {
    let tests: Vec<String> = sources(&["tests", "crates"]).iter().map(|path| read(path)).collect();
    let rows = rows();
    assert!(rows.len() > 30, "the rows were not found");
    let mut missing = Vec::new();
    for row in &rows {
        if row.enforced_by.is_empty() || row.tests.is_empty() {
            missing.push(format!("{}: no code or no test", row.rule));
        }
        for (item, file) in &row.enforced_by {
            if !has(&read(&root().join(file)), item) {
                missing.push(format!("{}: {file} does not define `{item}`", row.rule));
            }
        }
        for test in &row.tests {
            let start = format!("fn {test}(");
            if !tests.iter().any(|text| text.contains(&start)) {
                missing.push(format!("{}: there is no test `{test}`", row.rule));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
