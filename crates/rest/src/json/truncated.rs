//! The `truncated_fields` key of JSON objects. It lists the keys of the object whose values are too large to send, such as attributes that
//! were stored before their limit was introduced.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

/// Fields of the gRPC API whose keys in the JSON API have a different name.
const RENAMED: [(&str, &str); 1] = [("avatar_url", "thumbnail")];

// The value of the `truncated_fields` key, which is omitted if no value was truncated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct TruncatedFields(Vec<String>);

impl TruncatedFields {
    /// Whether no value was truncated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Converts the truncated fields of a gRPC message to the corresponding keys of its JSON object. Fields without such a key are left
    /// out.
    pub fn of(json: &impl Serialize, fields: &[String]) -> Self {
        if fields.is_empty() {
            return Self::default();
        }
        let json = serde_json::to_value(json).unwrap_or_default();
        let mut names: Vec<String> = fields.iter().filter_map(|field| key_of(&json, field)).map(str::to_owned).collect();
        names.dedup();
        Self(names)
    }
}

/// Returns the key of a JSON object that corresponds to a field of the gRPC API.
fn key_of<'f>(json: &Json, field: &'f str) -> Option<&'f str> {
    let outer = field.split('.').next().unwrap_or(field);
    let other = RENAMED.iter().find(|(name, _)| *name == outer).map(|(_, other)| *other);
    [outer].into_iter().chain(other).find(|key| json.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(json: &Json, fields: &[&str]) -> Vec<String> {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        TruncatedFields::of(json, &fields).0
    }

    #[test]
    fn lists_only_truncated_keys() {
        let contact = json!({"id": 1, "custom_attributes": {}, "sender": {}});
        assert!(names(&contact, &[]).is_empty());
        assert_eq!(
            names(&contact, &["custom_attributes", "sender.contact"]),
            ["custom_attributes", "sender"]
        );
        assert!(names(&contact, &["additional_attributes"]).is_empty(), "this form does not have it");
        assert_eq!(names(&json!({"thumbnail": ""}), &["avatar_url"]), ["thumbnail"]);
    }
}
