//! The source files of a crate have no import cycles. Cargo enforces the direction between crates.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

mod import_graph;
mod syntax;
mod unit_tests;

use import_graph::{Edges, ImportGraph, Sources};

#[test]
fn crates_have_no_import_cycles() {
    let mut report = String::new();
    for folder in source_folders() {
        let edges = edges_of_crate(&sources(&folder));
        let name = folder
            .strip_prefix(root())
            .expect("it is below the root")
            .to_string_lossy()
            .into_owned();
        for cycle in cycles(&edges) {
            write!(report, "{name}: {}", describe(&cycle, &edges)).expect("a string takes all");
        }
    }
    assert!(report.is_empty(), "import cycles\n{report}");
}

/// Rules depend on the writer: `write/` may use `auth/caller.rs`, and nothing else outside of itself.
#[test]
fn the_writer_imports_no_rules() {
    let edges = edges_of_crate(&sources(&root().join("crates/domain/src")));
    let writer: Vec<_> = edges.iter().filter(|(file, _)| file.starts_with("write/")).collect();
    assert!(writer.len() > 10, "the writer was not found");
    for (file, used) in writer {
        for (other, names) in used {
            let is_allowed = other.starts_with("write/") || other == "auth/caller.rs";
            assert!(is_allowed, "{file} uses {names:?} of {other}");
        }
    }
}

#[test]
fn routes_are_registered_only_in_the_route_table() {
    for (file, text) in sources(&root().join("crates/rest/src")) {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = lines.join("\n");
        let code = code.split("#[cfg(test)]").next().unwrap_or_default().replace("ApiRouter::new", "");
        assert_eq!(
            code.contains(".route(") || code.contains("Router::new"),
            file == "routing.rs",
            "{file}: routes are registered by `routing` alone, with their description"
        );
    }
}

/// The edges of a package's library and program.
fn edges_of_crate(sources: &Sources) -> Edges {
    let roots = ["lib.rs", "main.rs"].into_iter().filter(|root| sources.contains_key(*root));
    let mut edges = Edges::new();
    for root in roots {
        edges.extend(ImportGraph::parse(sources, root).edges());
    }
    edges
}

/// Strongly connected components of more than one file.
fn cycles(edges: &Edges) -> Vec<BTreeSet<&str>> {
    let reachable: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (file.as_str(), reachable(file, edges))).collect();
    let mut cycles: Vec<BTreeSet<&str>> = Vec::new();
    for (file, targets) in &reachable {
        if targets.contains(file) && !cycles.iter().any(|cycle| cycle.contains(file)) {
            let returns = |target: &&&str| reachable.get(**target).is_some_and(|back| back.contains(file));
            cycles.push(targets.iter().filter(returns).copied().collect());
        }
    }
    cycles
}

/// The files that a file uses, directly or indirectly.
fn reachable<'a>(from: &'a str, edges: &'a Edges) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut pending = vec![from];
    while let Some(file) = pending.pop() {
        let used = edges.get(file).into_iter().flat_map(BTreeMap::keys);
        pending.extend(used.filter(|file| found.insert(file.as_str())).map(String::as_str));
    }
    found
}

/// The edges of a cycle, one per line.
fn describe(cycle: &BTreeSet<&str>, edges: &Edges) -> String {
    let mut text = format!("{} files\n", cycle.len());
    for file in cycle {
        for (used, names) in edges.get(*file).into_iter().flatten() {
            if cycle.contains(used.as_str()) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                writeln!(text, "  {file} -> {used}: {}", names.join(", ")).expect("a string takes all");
            }
        }
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The source folders of all packages of the workspace; the service's is last.
fn source_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("crates")).expect("crates/ is readable");
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("crates/ is readable").path().join("src"))
        .collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    assert!(folders.len() > 10, "the crates were not found");
    folders.push(root().join("src"));
    folders
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Sources {
    let mut found = Sources::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).expect("sources are readable") {
            let path = entry.expect("sources are readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).expect("it is below the folder");
                let name = name.to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("sources are readable"));
            }
        }
    }
    found
}
