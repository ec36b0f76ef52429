//! Computes the changes between two states of a contact, as its events report them.

use std::iter;

use parley_eventlog::pending_event::Change;
use parley_storage::{entity::contact, joined::Contact};

use crate::attributes::attribute_changes;

/// Returns one change for each field in which two states of a contact differ.
pub(crate) fn changes(before: &Contact, after: &Contact) -> Vec<Change> {
    let (old, new) = (&before.row, &after.row);
    let texts = contact::TEXTS.iter().map(|text| Change::new(text.name, text.of(old), text.of(new)));
    let mut changes: Vec<Change> = iter::once(Change::new("name", old.name.clone(), new.name.clone()))
        .chain(texts)
        .chain([
            Change::new("blocked", old.blocked, new.blocked),
            Change::new("avatar_url", old.avatar_url.clone(), new.avatar_url.clone()),
            Change::new("labels", before.labels.clone(), after.labels.clone()),
        ])
        .flatten()
        .collect();
    changes.extend(attribute_changes(
        "additional_attributes",
        &old.additional_attributes,
        &new.additional_attributes,
    ));
    changes.extend(attribute_changes(
        "custom_attributes",
        &old.custom_attributes,
        &new.custom_attributes,
    ));
    changes
}
