//! The JSON of an account's records: labels, custom attribute definitions, canned responses and contact notes.

use parley_proto::{self as pb, CustomAttributeModel, CustomAttributeType};
use serde_json::{Value as Json, json};

use super::agent;
use crate::{
    openapi::schema::{self, Schema, choice, flag, id, list, null, text, unix as unix_time},
    params::timestamps::{iso, unix},
};

/// The names of models with custom attributes. The index in the list is the number that the API accepts as well.
pub const MODELS: [(&str, CustomAttributeModel); 2] = [
    ("conversation_attribute", CustomAttributeModel::Conversation),
    ("contact_attribute", CustomAttributeModel::Contact),
];

/// The names of attribute types. The index in the list is the number that the API accepts as well.
pub const TYPES: [(&str, CustomAttributeType); 8] = [
    ("text", CustomAttributeType::Text),
    ("number", CustomAttributeType::Number),
    ("currency", CustomAttributeType::Currency),
    ("percent", CustomAttributeType::Percent),
    ("link", CustomAttributeType::Link),
    ("date", CustomAttributeType::Date),
    ("list", CustomAttributeType::List),
    ("checkbox", CustomAttributeType::Checkbox),
];

fn name<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> Option<&'static str> {
    names.iter().find(|(_, known)| known == value).map(|(name, _)| *name)
}

/// A label of an account.
pub fn label(label: &pb::Label) -> Json {
    json!({
        "id": label.id,
        "title": label.title,
        "description": label.description,
        "color": label.color,
        "show_on_sidebar": label.show_on_sidebar,
    })
}

/// The schema of [`label`].
pub fn label_schema() -> Schema {
    schema::object()
        .key("id", id())
        .keys(&["title", "color"], &text())
        .key("description", text().or_null())
        .key("show_on_sidebar", flag().or_null())
        .named("Label")
}

/// A custom attribute definition. Default values are not supported.
pub fn definition(definition: &pb::CustomAttributeDefinition) -> Json {
    json!({
        "id": definition.id,
        "attribute_display_name": definition.display_name,
        "attribute_display_type": name(&TYPES, &definition.r#type()),
        "attribute_description": definition.description,
        "attribute_key": definition.key,
        "regex_pattern": definition.regex_pattern,
        "regex_cue": definition.regex_cue,
        "attribute_values": definition.values,
        "attribute_model": name(&MODELS, &definition.model()),
        "default_value": null,
        "created_at": iso(definition.created_at.as_ref()),
        "updated_at": iso(definition.updated_at.as_ref()),
    })
}

/// The schema of [`definition`].
pub fn definition_schema() -> Schema {
    schema::object()
        .key("id", id())
        .keys(&["attribute_display_name", "attribute_key"], &text())
        .key("attribute_display_type", choice(&TYPES.map(|(name, _)| name)))
        .keys(&["attribute_description", "regex_pattern", "regex_cue"], &text().or_null())
        .key("attribute_values", list(text()))
        .key("attribute_model", choice(&MODELS.map(|(name, _)| name)))
        .key("default_value", null())
        .keys(&["created_at", "updated_at"], &schema::iso())
        .named("CustomAttributeDefinition")
}

/// A canned response.
pub fn canned_response(response: &pb::CannedResponse) -> Json {
    json!({
        "id": response.id,
        "account_id": response.account_id,
        "short_code": response.short_code,
        "content": response.content,
        "created_at": iso(response.created_at.as_ref()),
        "updated_at": iso(response.updated_at.as_ref()),
    })
}

/// The schema of [`canned_response`].
pub fn canned_response_schema() -> Schema {
    schema::object()
        .keys(&["id", "account_id"], &id())
        .keys(&["short_code", "content"], &text())
        .keys(&["created_at", "updated_at"], &schema::iso())
        .named("CannedResponse")
}

/// A contact note. `account_id` and `contact_id` are null, as in Chatwoot.
pub fn note(note: &pb::ContactNote) -> Json {
    let mut json = json!({
        "id": note.id,
        "content": note.content,
        "account_id": null,
        "contact_id": null,
        "created_at": unix(note.created_at.as_ref()),
        "updated_at": unix(note.updated_at.as_ref()),
    });
    if let (Json::Object(map), Some(author)) = (&mut json, &note.author) {
        map.insert("user".to_owned(), agent::agent(author));
    }
    json
}

/// The schema of [`note`].
pub fn note_schema() -> Schema {
    schema::object()
        .key("id", id())
        .key("content", text())
        .keys(&["account_id", "contact_id"], &null())
        .keys(&["created_at", "updated_at"], &unix_time())
        .optional("user", agent::schema())
        .named("ContactNote")
}
