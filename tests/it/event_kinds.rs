//! Generates `docs/events.md` from the contract: every kind of event, when it occurs and what it contains.

use std::{fmt::Write as _, fs, path::Path};

/// The path of the page.
pub const DOCUMENT: &str = "docs/events.md";

/// The source files of the contract, concatenated.
fn contract() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/parley/v1");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the contract")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).expect("a text")).collect();
    texts.concat()
}

/// A field or an enum value with its comment.
struct Item {
    comment: String,
    /// The declaration without its semicolon, such as `int64 id = 1`.
    line: String,
}

impl Item {
    /// The type and the name of a field.
    fn field(&self) -> (&str, &str) {
        let declared = self.line.split(" = ").next().unwrap_or_default();
        declared.rsplit_once(' ').unwrap_or_default()
    }
}

/// The items between the braces of `head`, such as `enum EventKind`. Fields of a oneof count as fields of their message.
fn block(contract: &str, head: &str) -> Vec<Item> {
    let opening = format!("\n{head} {{\n");
    let start = contract.find(&opening).unwrap_or_else(|| panic!("the contract has no {head}")) + opening.len();
    let body = &contract[start..];
    let body = &body[..body.find("\n}").expect("a closing brace")];
    let (mut items, mut comment) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            comment.push(text);
        } else if let Some(line) = line.strip_suffix(';') {
            let line = line.split(" [").next().unwrap_or(line).to_owned();
            items.push(Item {
                comment: std::mem::take(&mut comment).join(" "),
                line,
            });
        } else {
            comment.clear();
        }
    }
    items
}

/// The name, the number and the description of each kind.
fn kinds(contract: &str, head: &str) -> Vec<(String, String, String)> {
    let named = |item: &Item| {
        let (name, when) = item.comment.strip_prefix('"')?.split_once("\": ")?;
        let number = item.line.rsplit(' ').next()?;
        let (first, rest) = when.split_at(when.chars().next()?.len_utf8());
        Some((name.to_owned(), number.to_owned(), format!("{}{rest}", first.to_uppercase())))
    };
    block(contract, head).iter().filter_map(named).collect()
}

/// The field of `Event.resource` that events of this kind set, with its type.
fn resource<'a>(fields: &'a [Item], kind: &str) -> &'a Item {
    let of = |item: &&Item| {
        let Some(kinds) = item.comment.strip_prefix("Set in events of the ") else {
            return false;
        };
        let words = kinds.split([' ', ',']).filter(|word| word.contains('.'));
        words
            .map(|word| word.trim_end_matches('.'))
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => kind.starts_with(prefix),
                None => kind == pattern,
            })
    };
    // An event about the team of a conversation contains the conversation.
    let conversation = |item: &&Item| item.field().1 == "conversation";
    let found = fields.iter().find(of).or_else(|| fields.iter().find(conversation));
    found.unwrap_or_else(|| panic!("no resource of {kind}"))
}

/// The text of the page.
pub fn page() -> String {
    let contract = contract();
    let fields = block(&contract, "message Event");
    let kinds_of_events = kinds(&contract, "enum EventKind");
    let mut page = String::from(
        "# Events\n\n\
         Every kind of event in an account's log, when it occurs, and what it contains. `docs/stream.md` explains how to read the log. This page is generated from the \
         contract (`UPDATE_SNAPSHOTS=1 cargo test --test it event_kinds`), whose comments are the reference.\n\n\
         ## Common fields\n\n| field | meaning |\n|---|---|\n",
    );
    for item in &fields {
        if !item.comment.starts_with("Set in events of the ") && item.field().1 != "tombstone" {
            let _ = writeln!(page, "| `{}` | {} |", item.field().1, item.comment);
        }
    }
    page.push_str(
        "\nEach event has one resource, in its state after the change or, for a deletion, in its last state. An event of a write that changed several things is \
         followed by the other events of that write, with the same `transaction_id`. After an erasure the resource is a `tombstone`.\n\n\
         ## Kinds\n\ngRPC filters use the number or constant of a kind (`EVENT_KIND_MESSAGE_CREATED`), REST and WebSocket its name.\n\n\
         | kind | number | when | resource |\n|---|---|---|---|\n",
    );
    let mut resources: Vec<(&str, &str)> = Vec::new();
    for (name, number, when) in &kinds_of_events {
        let (of, field) = resource(&fields, name).field();
        if !resources.contains(&(field, of)) {
            resources.push((field, of));
        }
        let _ = writeln!(page, "| `{name}` | {number} | {when} | `{field}` |");
    }
    page.push_str("\n## Resources\n");
    for (field, of) in resources {
        let _ = write!(page, "\n### {field}: `{of}`\n\n| field | type | meaning |\n|---|---|---|\n");
        for item in block(&contract, &format!("message {of}")) {
            let (declared, name) = item.field();
            let _ = writeln!(page, "| `{name}` | {declared} | {} |", item.comment.replace('|', "\\|"));
        }
    }
    page.push_str(
        "\n## Ephemeral events\n\nEphemeral events are delivered only to connected subscribers and never stored: they have no seq and no cursor.\n\n| kind | number | when |\n|---|---|---|\n",
    );
    for (name, number, when) in kinds(&contract, "enum EphemeralKind") {
        let _ = writeln!(page, "| `{name}` | {number} | {when} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use parley_proto::EventKind;

    use super::*;

    #[test]
    fn events_page_is_generated_from_the_contract() {
        let page = page();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(&path, &page).expect("written");
        }
        let written = fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, page, "{DOCUMENT} is not what UPDATE_SNAPSHOTS=1 would write");
    }

    #[test]
    fn events_page_uses_the_names_of_event_kinds() {
        let named = kinds(&contract(), "enum EventKind");
        let known: Vec<EventKind> = (1..).map_while(|number| EventKind::try_from(number).ok()).collect();
        assert_eq!(named.len(), known.len());
        for kind in known {
            let number = i32::from(kind).to_string();
            let (name, ..) = named.iter().find(|(_, of, _)| *of == number).expect("every kind is on the page");
            assert_eq!(name, kind.event_name());
        }
    }
}
