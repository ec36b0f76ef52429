//! Arrows point down only: reads which room each source file names, and fails on an upward one.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every room, with the rooms it may name besides the ground.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("attribute_limits", &[]),
    ("config", &[]),
    ("client_address", &[]),
    ("credential", &[]),
    ("telemetry", &[]),
    ("cursor_text", &[]),
    ("compute", &[]),
    ("error", &[]),
    ("fault", &[]),
    ("request_memory", &[]),
    ("id", &[]),
    ("identify", &[]),
    ("time", &[]),
    ("db", &[]),
    ("pb", &["db"]),
    ("rate_limit", &[]),
    ("events", &["pb", "db"]),
    ("chat", &["events", "db", "storage", "mail"]),
    ("api", &["chat", "events", "pb"]),
    ("gateway", &["pb"]),
    ("client", &["pb"]),
    ("storage", &[]),
    ("mail", &[]),
    ("admin", &[]),
    (
        "server",
        &["admin", "api", "chat", "events", "gateway", "pb", "db", "storage", "mail"],
    ),
    // `migrate` and `token` work on the database itself, without a server.
    (
        "cli",
        &[
            "admin", "server", "api", "chat", "events", "gateway", "client", "pb", "db", "storage", "mail",
        ],
    ),
    ("main", &["cli", "server", "api", "chat", "events", "gateway", "pb", "db"]),
];

/// What everybody may name.
const GROUND: &[&str] = &[
    "attribute_limits",
    "client_address",
    "compute",
    "config",
    "credential",
    "cursor_text",
    "telemetry",
    "error",
    "fault",
    "id",
    "identify",
    "rate_limit",
    "request_memory",
    "time",
];

/// Crates that a room leaves alone, with the reason.
const LEAVES_ALONE: &[(&str, &[&str], &str)] = &[
    (
        "api",
        &["sea_orm", "sqlx"],
        "a call is put into the words of `chat`, which alone knows rows and rules",
    ),
    ("client", &["sea_orm", "sqlx", "axum"], "whoever follows the stream needs no server"),
    ("gateway", &["sea_orm", "sqlx"], "the JSON door is a client of the gRPC one"),
    ("chat", &["tonic", "prost"], "rules must be callable without a transport"),
    ("events", &["tonic"], "the log must be readable without a transport"),
    ("db", &["tonic", "prost"], "rows know no wire"),
    ("pb", &["axum"], "words know no transport of JSON"),
];

#[test]
fn arrows_point_down() {
    let mut upward = Vec::new();
    for source in sources() {
        let room = room(&source);
        let (_, may_name) = MAY_NAME
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{} lies in no known room: give `{room}` a line in MAY_NAME", source.display()));
        let text = code(&source);
        for named in named_rooms(&text) {
            if named != room && !may_name.contains(&named.as_str()) && !GROUND.contains(&named.as_str()) {
                upward.push(format!("{}: `{room}` may not name `{named}`", source.display()));
            }
        }
        for (_, crates, reason) in LEAVES_ALONE.iter().filter(|(name, ..)| *name == room) {
            for name in *crates {
                if names_crate(&text, name) {
                    upward.push(format!("{}: `{room}` leaves `{name}` alone: {reason}", source.display()));
                }
            }
        }
    }
    upward.sort();
    upward.dedup();
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn the_ground_names_no_room() {
    for room in GROUND {
        let (_, may_name) = MAY_NAME.iter().find(|(name, _)| name == room).expect("the ground has lines too");
        assert!(may_name.is_empty(), "{room}");
    }
}

#[test]
fn routes_are_registered_at_the_door_alone() {
    for source in sources().iter().filter(|source| room(source) == "gateway") {
        let text = code(source);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_door = source.ends_with("gateway/door.rs");
        assert_eq!(
            text.contains(".route(") || text.contains("Router::new"),
            is_door,
            "{}: routes are registered with their description, by `Door`",
            source.display()
        );
    }
}

#[test]
fn rooms_are_found_in_every_spelling() {
    let text =
        "use crate::{\n    chat::{Writer, caller},\n    error::Result,\n    events,\n};\nlet x = crate::db::connect();\nuse crate::pb;";
    assert_eq!(named_rooms(text), ["chat", "error", "events", "db", "pb"]);
    assert!(names_crate("use sea_orm::DbErr;", "sea_orm"));
    assert!(names_crate("    sea_orm::entity", "sea_orm"));
    assert!(!names_crate("use not_sea_orm::X; sea_orm_migration::x", "sea_orm"));
}

fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("src/lib.rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10, "the sources were not found");
    files
}

/// The first part of a path below `src`, without `.rs`.
fn room(source: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below = source.strip_prefix(&root).expect("it was found there");
    let first = below.components().next().expect("a file has a name");
    Path::new(first.as_os_str()).with_extension("").to_string_lossy().into_owned()
}

/// The text without comments, so that documentation may point anywhere.
fn code(source: &Path) -> String {
    let text = fs::read_to_string(source).expect("src is readable");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    lines.join("\n")
}

/// Every room named by `crate::room` or inside `crate::{…}`.
fn named_rooms(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        // `$crate` in macros and paths such as `parley_crate::` are no roots.
        if text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        if let Some(group) = rest.strip_prefix('{') {
            rooms.extend(first_names(group));
        } else {
            rooms.push(name(rest));
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

/// The first name of each entry at the top level of a `{…}` group.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut entry) = (0, true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => entry = true,
            c if entry && depth == 0 && (c.is_alphabetic() || c == '_') => {
                names.push(name(&group[at..]));
                entry = false;
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn names_crate(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + name.len()..];
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        starts && (after.starts_with("::") || after.starts_with(';') && text[..at].ends_with("use "))
    })
}
