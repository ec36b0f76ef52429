//! A direct evaluation of the filter rules, for the attributes that the tests use.

use std::collections::BTreeMap;

use parley_proto::{
    Contact, Conversation,
    FilterOperator::{
        self, Contains, DaysBefore, DoesNotContain, EqualTo, IsGreaterThan, IsLessThan, IsNotPresent, IsPresent, NotEqualTo, StartsWith,
    },
};
use prost_types::value::Kind;
use serde_json::{Value as Json, json};

/// A condition: its key, operator and values, and whether OR follows.
pub type Case = (&'static str, FilterOperator, Vec<Json>, bool);

/// A row as filters see it: strings, numbers and booleans, labels as a list. Absent values have no entry.
pub type Row = BTreeMap<&'static str, Json>;

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a row matches one condition. If `first`, equality compares the first value only.
fn holds(row: &Row, (key, operator, values, _): &Case, first: bool) -> bool {
    let compared = if first && !values.is_empty() {
        &values[..1]
    } else {
        values.as_slice()
    };
    let cased = matches!(*key, "browser_language" | "referer");
    let fold = |value: &Json| if cased { text(value) } else { text(value).to_lowercase() };
    let pieces = |stored: &Json| {
        let stored = text(stored).to_lowercase();
        values
            .iter()
            .any(|value| stored.contains(text(value).trim().to_lowercase().as_str()))
    };
    let Some(stored) = row.get(key) else {
        // Labels are a list, and an empty list contains none of them.
        return *operator == IsNotPresent || (*key == "labels" && *operator == NotEqualTo);
    };
    let equal = || match (*key, stored) {
        ("labels", Json::Array(labels)) => compared.iter().any(|value| {
            labels
                .iter()
                .any(|label| if first { fold(label) == fold(value) } else { label == value })
        }),
        ("phone_number", _) => text(stored) == format!("+{}", text(&compared[0]).replace('+', "")),
        ("status", _) => compared.iter().any(|value| value == "all" || value == stored),
        _ => compared.iter().any(|value| fold(value) == fold(stored)),
    };
    let day = || text(stored);
    match operator {
        EqualTo | StartsWith => equal(),
        NotEqualTo => !equal(),
        Contains => pieces(stored),
        DoesNotContain => !pieces(stored),
        IsPresent => true,
        IsGreaterThan => day() > text(&values[0]),
        IsLessThan => day() < text(&values[0]),
        IsNotPresent | DaysBefore | FilterOperator::Unspecified => false,
    }
}

/// Whether a row matches all conditions. AND binds tighter than OR.
pub fn matches(row: &Row, cases: &[Case], first: bool) -> bool {
    let (mut any, mut all) = (false, true);
    for case in cases {
        all &= holds(row, case, first);
        if case.3 {
            any |= all;
            all = true;
        }
    }
    // The group after the last OR, or all conditions if there is no OR.
    let open = cases.last().is_some_and(|last| !last.3);
    any || (open && all)
}

/// A contact as filters see it.
pub fn contact_row(contact: &Contact) -> Row {
    let mut row = Row::from([
        ("name", json!(contact.name)),
        ("blocked", json!(contact.blocked)),
        // Stands in for today, which is later than all dates in these tests.
        ("created_at", json!("2500-01-01")),
    ]);
    for (key, stored) in [
        ("email", &contact.email),
        ("phone_number", &contact.phone_number),
        ("identifier", &contact.identifier),
    ] {
        row.extend(stored.as_ref().map(|stored| (key, json!(stored))));
    }
    for key in ["city", "company", "country_code"] {
        let stored = contact.additional_attributes.as_ref().and_then(|all| all.fields.get(key));
        if let Some(Kind::StringValue(stored)) = stored.and_then(|value| value.kind.as_ref()) {
            row.insert(key, json!(stored));
        }
    }
    if !contact.labels.is_empty() {
        row.insert("labels", json!(contact.labels));
    }
    row
}

/// A conversation as filters see it.
pub fn conversation_row(conversation: &Conversation) -> Row {
    let mut row = Row::from([
        (
            "status",
            json!(["", "open", "resolved", "pending", "snoozed"][usize::try_from(conversation.status).expect("an enum")]),
        ),
        ("inbox_id", json!(conversation.inbox_id)),
        ("display_id", json!(conversation.id)),
        ("created_at", json!("2500-01-01")),
    ]);
    if conversation.priority != 0 {
        row.insert(
            "priority",
            json!(["", "low", "medium", "high", "urgent"][usize::try_from(conversation.priority).expect("an enum")]),
        );
    }
    row.extend(conversation.assignee.as_ref().map(|agent| ("assignee_id", json!(agent.id))));
    for key in ["browser_language", "referer"] {
        let stored = conversation.additional_attributes.as_ref().and_then(|all| all.fields.get(key));
        if let Some(Kind::StringValue(stored)) = stored.and_then(|value| value.kind.as_ref()) {
            row.insert(key, json!(stored));
        }
    }
    if !conversation.labels.is_empty() {
        row.insert("labels", json!(conversation.labels));
    }
    row
}
