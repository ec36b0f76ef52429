//! The former vocabulary of `docs/glossary.toml` does not come back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use serde::Deserialize;

/// Files and folders whose names and texts are fixed: released migrations, what is recorded of releases, and the glossary itself.
const EXEMPT: [&str; 5] = [
    "crates/storage/src/migration/",
    "tests/releases/",
    "docs/glossary.md",
    "docs/glossary.toml",
    "tests/it/glossary.rs",
];

/// Folders with sources, texts, or both.
const FOLDERS: [&str; 11] = [
    "benches", "crates", "docker", "docs", "examples", "helm", "proto", "src", "tests", "xtask", ".",
];

/// Endings of the files that are read.
const TEXTS: [&str; 11] = ["rs", "proto", "md", "yaml", "yml", "toml", "py", "sh", "mjs", "js", "tpl"];

#[derive(Debug, Deserialize)]
struct Glossary {
    identifier: Vec<Former>,
    phrase: Vec<Former>,
}

#[derive(Debug, Deserialize)]
struct Former {
    old: String,
    new: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn glossary() -> Glossary {
    let text = fs::read_to_string(root().join("docs/glossary.toml")).expect("the glossary is readable");
    toml::from_str(&text).expect("the glossary is TOML")
}

/// The files of a folder and, unless it is the repository's root, of the folders below it.
fn collect(folder: &Path, is_root: bool, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !is_root && name != "target" && name != "node_modules" {
                collect(&path, false, files);
            }
        } else if path.extension().is_some_and(|ending| TEXTS.iter().any(|text| ending == *text)) {
            files.push(path);
        }
    }
}

/// Names relative to the root and contents of all files that the glossary applies to.
fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root().join(folder), folder == ".", &mut files);
    }
    let named = files.into_iter().filter_map(|path| {
        let name = path
            .strip_prefix(root())
            .ok()?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        let text = fs::read_to_string(&path).ok()?;
        (!EXEMPT.iter().any(|exempt| name.starts_with(exempt))).then_some((name, text))
    });
    named.collect()
}

/// Collects the identifiers of a source that are in a list.
fn find_identifiers<'a>(stream: TokenStream, former: &'a [Former], found: &mut Vec<&'a Former>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => find_identifiers(group.stream(), former, found),
            TokenTree::Ident(name) => found.extend(former.iter().find(|former| name == former.old)),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether a text contains a phrase as whole words. Line ends and the marks of comments count as white space.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    text.match_indices(phrase)
        .any(|(at, _)| !is_word(text[..at].chars().next_back()) && !is_word(text[at + phrase.len()..].chars().next()))
}

/// A text in lower case with its words separated by single spaces.
fn words(text: &str) -> String {
    let marks = ["//!", "///", "//", "#", "*"];
    let words = text.split_whitespace().filter(|word| !marks.contains(word));
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[test]
fn former_identifiers_are_not_used() {
    let glossary = glossary();
    let mut report = Vec::new();
    for (name, text) in texts() {
        if Path::new(&name).extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut found = Vec::new();
        find_identifiers(stream, &glossary.identifier, &mut found);
        found.dedup_by_key(|former| &former.old);
        report.extend(found.iter().map(|former| format!("{name}: {} is now {}", former.old, former.new)));
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn former_phrases_are_not_used() {
    let glossary = glossary();
    let mut report = Vec::new();
    for (name, text) in texts() {
        let text = words(&text);
        for former in &glossary.phrase {
            if has_phrase(&text, &former.old.to_lowercase()) {
                report.push(format!("{name}: write {:?} in place of {:?}", former.new, former.old));
            }
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn phrases_are_found_across_lines_and_not_within_words() {
    let text = words("// A subscriber is told\n    // of that.");
    assert!(has_phrase(&text, "is told of"));
    assert!(!has_phrase("it untold of", "told of"));
}
