//! A simple record costs at most [`LINES`] lines of Rust, without proto, migration and tests. `CONTRIBUTING.md` shows such a record, canned
//! responses, as the example of how to add one.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const LINES: usize = 150;

/// The record's name in the spelling of identifiers and of types, in lower case.
const NAMES: [&str; 2] = ["canned_response", "cannedresponse"];

fn names_record(text: &str) -> bool {
    let text = text.to_lowercase();
    NAMES.iter().any(|name| text.contains(name))
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines from `start` to the end of the item that the line opens, or that line alone.
fn item<'a>(lines: &'a [&'a str], start: usize) -> &'a [&'a str] {
    let opens = lines[start].ends_with(['{', '(', '[']);
    let closes = |line: &&str| !line.trim().is_empty() && indentation(line) <= indentation(lines[start]);
    let end = if opens {
        lines[start + 1..]
            .iter()
            .position(closes)
            .map_or(lines.len(), |offset| start + 1 + offset)
    } else {
        start
    };
    &lines[start..=end.min(lines.len() - 1)]
}

/// The number of lines of a file that the record needs: all of its own files, and elsewhere the items that name it.
fn lines_of(path: &Path, text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    if names_record(&path.to_string_lossy()) {
        return lines.iter().filter(|line| is_code(line)).count();
    }
    let (mut count, mut next) = (0, 0);
    while next < lines.len() {
        let is_test = lines[next].trim() == "#[cfg(test)]" && next + 1 < lines.len();
        if is_test {
            next += 1 + item(&lines, next + 1).len();
        } else if is_code(lines[next]) && names_record(lines[next]) {
            let item = item(&lines, next);
            count += item.iter().filter(|line| is_code(line)).count();
            next += item.len();
        } else {
            next += 1;
        }
    }
    count
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            if !path.ends_with("migration") && !path.ends_with("target") {
                sources(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.to_string_lossy().ends_with("tests.rs") {
            files.push(path);
        }
    }
}

#[test]
fn simple_record_has_few_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("crates"), &mut files);
    sources(&root.join("src"), &mut files);
    let (mut total, mut report) = (0, String::new());
    for path in files {
        let path = path.strip_prefix(root).expect("the file is in the workspace");
        let lines = lines_of(path, &fs::read_to_string(root.join(path)).expect("the file is text"));
        total += lines;
        if lines > 0 {
            writeln!(report, "{lines:4} {}", path.display()).expect("a string takes all");
        }
    }
    println!("{report}{total:4} in total");
    assert!(total > 50, "the record is found:\n{report}");
    assert!(total <= LINES, "{total} lines of {LINES}:\n{report}");
}

#[test]
fn items_are_counted_to_their_end() {
    let text = "fn other() {\n}\n\n/// A comment.\npub fn canned_response() {\n    a();\n\n    b();\n}\nCannedResponse => 1,\n\n#[cfg(test)]\nmod tests {\n    canned_response();\n}\n";
    assert_eq!(lines_of(Path::new("crates/a/src/b.rs"), text), 5);
}
