//! The texts of the `OpenAPI` document, stored in data files: one file for each tag, one for parameters, one for response fields, one for
//! errors, and one for the examples.
//!
//! The behaviour tests generate `examples.json` from recorded responses. They fail if an operation has no texts or examples, or if a text
//! is unused.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value as Json;

/// The introduction to the JSON API, in Markdown.
pub const INTRODUCTION: &str = include_str!("texts/introduction.md");

const EXAMPLES: &str = include_str!("examples.json");
const PARAMETERS: &str = include_str!("texts/parameters.toml");
const RESPONSE_FIELDS: &str = include_str!("texts/response_fields.toml");
const ERRORS: &str = include_str!("texts/errors.toml");

/// The names of the tags, each with the content of its text file.
const TAGS: [(&str, &str); 21] = [
    ("Absent features", include_str!("texts/absent_features.toml")),
    ("Account", include_str!("texts/account.toml")),
    ("Agent bots", include_str!("texts/agent_bots.toml")),
    ("Agents", include_str!("texts/agents.toml")),
    ("Audit logs", include_str!("texts/audit_logs.toml")),
    ("Canned responses", include_str!("texts/canned_responses.toml")),
    ("Client side", include_str!("texts/client_side.toml")),
    ("Contacts", include_str!("texts/contacts.toml")),
    ("Conversations", include_str!("texts/conversations.toml")),
    ("Custom attributes", include_str!("texts/custom_attributes.toml")),
    ("Description", include_str!("texts/description.toml")),
    ("Events", include_str!("texts/events.toml")),
    ("Files", include_str!("texts/files.toml")),
    ("Filters", include_str!("texts/filters.toml")),
    ("Inboxes", include_str!("texts/inboxes.toml")),
    ("Labels", include_str!("texts/labels.toml")),
    ("Messages", include_str!("texts/messages.toml")),
    ("Platform side", include_str!("texts/platform_side.toml")),
    ("Profile", include_str!("texts/profile.toml")),
    ("Search", include_str!("texts/search.toml")),
    ("Teams", include_str!("texts/teams.toml")),
];

/// Descriptions by the name of the parameter or field that they describe.
pub type Descriptions = BTreeMap<String, String>;

/// The description of a tag, and the texts of its operations.
#[derive(Debug, Default, Deserialize)]
struct Tag {
    description: String,
    #[serde(flatten)]
    operations: BTreeMap<String, Operation>,
}

/// The texts that describe one operation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// A short phrase, without a final period.
    pub summary: String,
    /// A description of one or more sentences.
    pub description: String,
    /// Descriptions of the operation's parameters and body fields, which override the shared ones.
    #[serde(default)]
    pub fields: Descriptions,
}

/// An error that many operations share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Error {
    pub description: String,
    pub example: Json,
}

/// An example request with its response, and example error bodies by status.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Values of the request parameters in the example.
    #[serde(default)]
    pub parameters: BTreeMap<String, Json>,
    pub request: Option<Json>,
    pub response: Option<Json>,
    #[serde(default)]
    pub errors: BTreeMap<String, Json>,
}

/// All texts and examples of the document.
#[derive(Debug)]
pub struct Texts {
    tags: BTreeMap<&'static str, Tag>,
    /// Shared descriptions of parameters and body fields. The texts of an operation can override them.
    pub parameters: Descriptions,
    /// Shared descriptions of response fields. A type can override them with doc comments on its fields.
    pub response_fields: Descriptions,
    errors: BTreeMap<String, Error>,
    examples: BTreeMap<String, Example>,
}

impl Texts {
    /// Parses all text files.
    pub fn read() -> Self {
        Self {
            tags: TAGS.iter().map(|(tag, file)| (*tag, parsed(file))).collect(),
            parameters: parsed(PARAMETERS),
            response_fields: parsed(RESPONSE_FIELDS),
            errors: parsed(ERRORS),
            examples: examples(),
        }
    }

    /// Returns the description of a tag.
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", |tag| &tag.description)
    }

    /// Returns the texts of an operation, if there are any.
    pub fn operation(&self, tag: &str, operation: &str) -> Option<&Operation> {
        self.tags.get(tag)?.operations.get(operation)
    }

    /// Returns the text of a common error.
    pub fn error(&self, status: &str) -> Option<&Error> {
        self.errors.get(status)
    }

    /// Returns the examples of an operation, if there are any.
    pub fn example(&self, operation: &str) -> Option<&Example> {
        self.examples.get(operation)
    }
}

/// Adds the available descriptions to those fields of a schema that have none, including the fields of nested lists and objects. References
/// are skipped, because the schemas that they refer to have their own descriptions.
pub fn describe_fields<'a>(schema: &mut Json, text: &impl Fn(&str) -> Option<&'a String>) {
    match schema {
        Json::Array(shapes) => shapes.iter_mut().for_each(|shape| describe_fields(shape, text)),
        Json::Object(schema) => {
            if let Some(Json::Object(properties)) = schema.get_mut("properties") {
                for (name, field) in properties {
                    describe_fields(field, text);
                    if let (Some(text), Json::Object(field)) = (text(name), field)
                        && !field.contains_key("$ref")
                        && !field.contains_key("description")
                    {
                        field.insert("description".to_owned(), Json::from(text.as_str()));
                    }
                }
            }
            for inner in ["items", "anyOf"] {
                if let Some(inner) = schema.get_mut(inner) {
                    describe_fields(inner, text);
                }
            }
        }
        _ => {}
    }
}

#[allow(clippy::expect_used)] // The files are compiled in, and every test that starts the server parses them.
fn parsed<T: DeserializeOwned>(file: &str) -> T {
    toml::from_str(file).expect("a file of texts is valid")
}

#[allow(clippy::expect_used)] // See `parsed`.
fn examples() -> BTreeMap<String, Example> {
    serde_json::from_str(EXAMPLES).expect("the file of examples is valid")
}
