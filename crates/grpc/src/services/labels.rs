//! Declares the fields of labels, from which `LabelsService` is implemented.

use parley_domain::{record::label::Entity, records::labels::LabelPatch};
use parley_proto as pb;
use parley_types::error::Rule;

use super::records::RecordApi;
use crate::validation::fields::{SHORT_TEXT, Validator};

/// Maximum length of a description in characters.
const TEXT: usize = 20_000;
/// The default color of a label.
const COLOR: &str = "#1f93ff";

impl RecordApi for Entity {
    type Message = pb::Label;
    const FIELDS: &'static [&'static str] = &["title", "description", "color", "show_on_sidebar"];

    fn set(patch: &mut LabelPatch, field: &str, label: &pb::Label, fields: &mut Validator) {
        match field {
            "title" => patch.title = Some(title(fields, &label.title)),
            "description" => patch.description = Some(fields.optional(field, label.description.clone(), TEXT)),
            "color" => patch.color = Some(color(fields, &label.color)),
            "show_on_sidebar" => patch.show_on_sidebar = Some(label.show_on_sidebar),
            other => fields.unknown_path(other),
        }
    }
}

/// Validates a title and converts it to lower case. Titles may contain letters and digits of any script, hyphens and underscores, like the
/// label names of conversations.
fn title(fields: &mut Validator, title: &str) -> String {
    fields.required("title", title, SHORT_TEXT);
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    let begins = title.chars().next().is_some_and(char::is_alphanumeric);
    if !title.trim().is_empty() && (!begins || title.chars().nth(1).is_none() || !title.chars().all(fits)) {
        let text = "must be two or more letters, digits, hyphens or underscores, the first a letter or digit";
        fields.add_violation("title", Rule::Invalid, text);
    }
    title.to_lowercase()
}

fn color(fields: &mut Validator, color: &str) -> String {
    fields.text("color", color, SHORT_TEXT);
    if color.is_empty() { COLOR.to_owned() } else { color.to_owned() }
}
