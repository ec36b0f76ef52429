//! Formats an event as one human-readable line. Pure: no access to the terminal or the clock.

use std::fmt::{Display, Write as _};

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, NaiveDate, TimeZone};
use parley_proto::{Event, EventDelivery, FieldChange, event::Resource};
use parley_telemetry::escape::is_unsafe;
use prost_types::{Value, value::Kind as ValueKind};

/// Maximum number of characters that are shown of a message's content or of a changed text value.
const MAX_EXCERPT_CHARS: usize = 80;

/// Formats a delivery as `14:03:22      42  message.created                 #3 Ana: Hello`, with times in `zone`.
pub fn delivery<Z: TimeZone>(delivery: &EventDelivery, zone: &Z, is_coloured: bool) -> String
where
    Z::Offset: Display,
{
    let Some(event) = &delivery.event else { return String::new() };
    let time = event
        .occurred_at
        .and_then(|time| DateTime::from_timestamp(time.seconds, 0))
        .map_or_else(
            || "--:--:--".to_owned(),
            |time| time.with_timezone(zone).format("%H:%M:%S").to_string(),
        );
    let (dim, kind) = if is_coloured {
        (Style::new().dimmed(), style(&event.kind_name))
    } else {
        Default::default()
    };
    let name = sanitize(&event.kind_name);
    let mut line = format!("{dim}{time}{dim:#}  {:>6}  {kind}{name:<27}{kind:#}", event.seq);
    for part in [describe(event), changes(&event.changes)]
        .into_iter()
        .filter(|part| !part.is_empty())
    {
        // Writing to a `String` cannot fail.
        let _ = write!(line, "  {part}");
    }
    line.trim_end().to_owned()
}

/// Returns the date of an event in `zone`, or `None` if the event has no time.
pub fn day<Z: TimeZone>(delivery: &EventDelivery, zone: &Z) -> Option<NaiveDate> {
    let time = delivery.event.as_ref()?.occurred_at?;
    let time = DateTime::from_timestamp(time.seconds, 0)?;
    Some(time.with_timezone(zone).date_naive())
}

/// Returns the terminal color for a kind of event.
fn style(kind: &str) -> Style {
    let colour = match kind.split('.').next() {
        _ if kind.ends_with(".deleted") || kind.ends_with(".removed") => AnsiColor::Red,
        Some("message") => AnsiColor::Green,
        Some("conversation") => AnsiColor::Cyan,
        Some("assignee" | "team" | "agent" | "first") => AnsiColor::Magenta,
        Some("contact") => AnsiColor::Yellow,
        _ => AnsiColor::Blue,
    };
    colour.on_default()
}

/// Returns a short description of the event's resource.
fn describe(event: &Event) -> String {
    match &event.resource {
        Some(Resource::Message(resource)) => {
            let Some(message) = &resource.message else { return String::new() };
            let sender = message.sender.as_ref().map_or("—", |sender| sender.name.as_str());
            let note = if message.private { " (note)" } else { "" };
            let files = match message.attachments.len() {
                0 => String::new(),
                1 => " [1 attachment]".to_owned(),
                count => format!(" [{count} attachments]"),
            };
            let text = excerpt(message.content.as_deref().unwrap_or_default());
            format!("#{} {}{note}: {text}{files}", message.conversation_id, sanitize(sender))
        }
        Some(Resource::Conversation(resource)) => resource.conversation.as_ref().map_or_else(String::new, |conversation| {
            let contact = conversation.contact.as_ref().map_or("", |contact| contact.name.as_str());
            format!("#{} {}", conversation.id, sanitize(contact))
        }),
        Some(Resource::Contact(resource)) => named("contact", resource.contact.as_ref().map(|it| (it.id, it.name.as_str()))),
        Some(Resource::Inbox(resource)) => named("inbox", resource.inbox.as_ref().map(|it| (it.id, it.name.as_str()))),
        Some(Resource::Account(account)) => named("account", Some((account.id, account.name.as_str()))),
        Some(Resource::Agent(agent)) => named("agent", Some((agent.id, agent.name.as_str()))),
        Some(Resource::AgentBot(bot)) => named("agent bot", Some((bot.id, bot.name.as_str()))),
        Some(Resource::Team(team)) => named("team", Some((team.id, team.name.as_str()))),
        Some(Resource::Label(label)) => named("label", Some((label.id, label.title.as_str()))),
        Some(Resource::CustomAttributeDefinition(it)) => named("custom attribute", Some((it.id, it.key.as_str()))),
        Some(Resource::CannedResponse(response)) => named("canned response", Some((response.id, response.short_code.as_str()))),
        // Do not print the note's text: notes are visible to members only.
        Some(Resource::ContactNote(note)) => named("note", Some((note.id, ""))),
        Some(Resource::Tombstone(_)) => "(erased)".to_owned(),
        None => String::new(),
    }
}

fn named(noun: &str, which: Option<(i64, &str)>) -> String {
    which.map_or_else(String::new, |(id, name)| {
        format!("{noun} {id} {}", sanitize(name)).trim_end().to_owned()
    })
}

/// Formats changes as `status open → resolved, priority none → high`.
fn changes(changes: &[FieldChange]) -> String {
    let one = |change: &FieldChange| {
        let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), format_value);
        format!("{} {} → {}", sanitize(&change.field), side(&change.before), side(&change.after))
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn format_value(value: &Value) -> String {
    match &value.kind {
        None | Some(ValueKind::NullValue(_)) => "none".to_owned(),
        Some(ValueKind::BoolValue(value)) => value.to_string(),
        Some(ValueKind::NumberValue(value)) => value.to_string(),
        Some(ValueKind::StringValue(value)) => excerpt(value),
        Some(ValueKind::ListValue(list)) => format!("[{}]", list.values.iter().map(format_value).collect::<Vec<_>>().join(", ")),
        Some(ValueKind::StructValue(fields)) => {
            let field = |(name, value): (&String, &Value)| format!("{}: {}", sanitize(name), format_value(value));
            format!("{{{}}}", fields.fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut start: String = characters.by_ref().take(MAX_EXCERPT_CHARS).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    sanitize(&start)
}

/// Replaces control characters with spaces: text from untrusted senders must not control the terminal.
fn sanitize(text: &str) -> String {
    text.chars()
        .map(|character| if is_unsafe(character) { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, Utc};

    use super::*;
    use parley_proto::samples;

    #[test]
    fn message_line_has_conversation_sender_and_text() {
        assert_eq!(
            delivery(&samples::message("Hello"), &Utc, false),
            "03:04:05      42  message.created              #3 Ana: Hello"
        );
    }

    #[test]
    fn times_are_in_the_local_zone() {
        let zone = FixedOffset::east_opt(3600).unwrap();
        assert!(delivery(&samples::message("Hello"), &zone, false).starts_with("04:04:05 "));
    }

    #[test]
    fn change_line_has_before_and_after() {
        assert_eq!(
            delivery(&samples::status_changed(), &Utc, false),
            "03:04:05      43  conversation.status_changed  #3 Ana  status open → resolved, priority none → high"
        );
    }

    #[test]
    fn long_text_is_truncated_and_escaped() {
        let line = delivery(&samples::message(&"ä".repeat(81)), &Utc, false);
        assert!(line.ends_with(&format!(": {}…", "ä".repeat(80))), "{line}");
        let line = delivery(&samples::message("a\u{1b}[2Jb\nc"), &Utc, false);
        assert!(line.ends_with(": a [2Jb c"), "{line:?}");
    }

    #[test]
    fn colour_is_optional() {
        assert!(!delivery(&samples::message("Hello"), &Utc, false).contains('\u{1b}'));
        assert!(delivery(&samples::message("Hello"), &Utc, true).contains("\u{1b}[32mmessage.created"));
    }
}
