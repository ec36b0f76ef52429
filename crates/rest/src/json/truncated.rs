//! `truncated_fields`: the keys of an object whose values are too large to send, such as attributes that were stored before their limit was
//! introduced.

use serde_json::{Value as Json, json};

use crate::openapi::schema::{Schema, list, text};

/// The key. It is present only if a value was truncated.
const KEY: &str = "truncated_fields";

/// Fields of the gRPC API that have another name in the JSON API.
const RENAMED: [(&str, &str); 1] = [("avatar_url", "thumbnail")];

/// Adds the names of truncated fields to an object, if the object has these fields.
pub fn mark(json: &mut Json, fields: &[String]) {
    let mut names: Vec<&str> = fields.iter().filter_map(|field| shown(json, field)).collect();
    names.dedup();
    if !names.is_empty() {
        json[KEY] = json!(names);
    }
}

/// The key of an object that corresponds to a field of the gRPC API.
fn shown<'f>(json: &Json, field: &'f str) -> Option<&'f str> {
    let outer = field.split('.').next().unwrap_or(field);
    let other = RENAMED.iter().find(|(name, _)| *name == outer).map(|(_, other)| *other);
    [outer].into_iter().chain(other).find(|key| json.get(key).is_some())
}

/// Adds the key to the schema of an object.
pub fn marked(schema: Schema) -> Schema {
    schema.optional(
        KEY,
        list(text()).note("Keys of this object whose values are too large to send: they are empty here and kept in the database."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: Json, fields: &[&str]) -> Json {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        let mut json = json;
        mark(&mut json, &fields);
        json.get(KEY).cloned().unwrap_or_default()
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let contact = json!({"id": 1, "custom_attributes": {}, "sender": {}});
        assert_eq!(names(contact.clone(), &[]), Json::Null);
        assert_eq!(
            names(contact.clone(), &["custom_attributes", "sender.contact"]),
            json!(["custom_attributes", "sender"])
        );
        assert_eq!(names(contact, &["additional_attributes"]), Json::Null, "this form does not have it");
        assert_eq!(names(json!({"thumbnail": ""}), &["avatar_url"]), json!(["thumbnail"]));
    }
}
