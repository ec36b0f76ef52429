//! The texts of the document, stored as data: a file for each tag, one for parameters, one for schemas, one for errors; and the examples.
//!
//! The behaviour tests generate `examples.json` from recorded responses. They also fail for an operation without texts or examples, and for
//! unused texts.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value as Json;

/// The introduction to the API, in Markdown.
pub const INTRODUCTION: &str = include_str!("texts/introduction.md");

const EXAMPLES: &str = include_str!("examples.json");
const PARAMETERS: &str = include_str!("texts/parameters.toml");
const RESPONSE_FIELDS: &str = include_str!("texts/response_fields.toml");
const ERRORS: &str = include_str!("texts/errors.toml");

/// The files of the tags.
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

/// Descriptions by the name of the item they describe.
pub type Descriptions = BTreeMap<String, String>;

/// The texts of one tag and its operations.
#[derive(Debug, Default, Deserialize)]
struct Tag {
    description: String,
    #[serde(flatten)]
    operations: BTreeMap<String, Operation>,
}

/// The texts of one operation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// A few words, without a full stop.
    pub summary: String,
    /// One sentence or more.
    pub description: String,
    /// Descriptions of its parameters and body fields that override the shared ones.
    #[serde(default)]
    pub fields: Descriptions,
}

/// A common error.
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
    /// Values of the parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, Json>,
    pub request: Option<Json>,
    pub response: Option<Json>,
    #[serde(default)]
    pub errors: BTreeMap<String, Json>,
}

/// All texts and examples.
#[derive(Debug)]
pub struct Texts {
    tags: BTreeMap<&'static str, Tag>,
    /// Descriptions of parameters and body fields, unless the operation overrides them.
    pub parameters: Descriptions,
    /// Descriptions of fields of responses, unless their type has its own.
    pub response_fields: Descriptions,
    errors: BTreeMap<String, Error>,
    examples: BTreeMap<String, Example>,
}

impl Texts {
    /// Parses all files.
    pub fn read() -> Self {
        Self {
            tags: TAGS.iter().map(|(tag, file)| (*tag, parsed(file))).collect(),
            parameters: parsed(PARAMETERS),
            response_fields: parsed(RESPONSE_FIELDS),
            errors: parsed(ERRORS),
            examples: examples(),
        }
    }

    /// The description of a tag.
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", |tag| &tag.description)
    }

    /// The texts of an operation, if there are any.
    pub fn operation(&self, tag: &str, operation: &str) -> Option<&Operation> {
        self.tags.get(tag)?.operations.get(operation)
    }

    /// The text of a common error.
    pub fn error(&self, status: &str) -> Option<&Error> {
        self.errors.get(status)
    }

    /// The examples of an operation, if there are any.
    pub fn example(&self, operation: &str) -> Option<&Example> {
        self.examples.get(operation)
    }
}

/// Adds the available descriptions to the fields of a schema that have none, including those of nested lists and objects. References are
/// skipped: the schemas that they refer to have their own descriptions.
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
