//! The bodies of error responses, with their schemas. The shapes are those of Chatwoot.

use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::schema::inline_schema;

/// The JSON of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ErrorBody {
    /// Shape A.
    Error(Error),
    /// Shape B.
    Record(RecordError),
    /// Shape C.
    Credentials(CredentialsError),
    /// Shape D.
    Fault(Fault),
}

/// An error with one sentence.
#[allow(clippy::struct_field_names)] // The API's contract has chosen the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Error {
    /// What is wrong, as a sentence for a person.
    pub error: String,
    /// Stable name of the error, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub reason: Option<String>,
    /// Id of the resource that already has the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub existing_id: Option<i64>,
    /// Oldest event that is kept, where a cursor cannot be continued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub earliest_seq: Option<i64>,
    /// Newest event, where a cursor cannot be continued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub head_seq: Option<i64>,
    /// Identity of the log, where a cursor cannot be continued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub epoch: Option<String>,
}

/// An error of a resource that cannot be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RecordError {
    /// What is wrong, as sentences joined with commas.
    pub message: String,
    /// Names of the fields that are wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub attributes: Option<Vec<String>>,
    /// Id of the resource that already has the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub existing_id: Option<i64>,
}

/// The error of a request without a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CredentialsError {
    /// Sentences for a person.
    pub errors: Vec<String>,
}

/// An error of the protocol or the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fault {
    /// HTTP status of the response.
    pub status: i64,
    /// Name of the status, or what is wrong.
    pub error: String,
}

/// The text of a 429 response.
pub struct RetryLater;

impl RetryLater {
    /// Chatwoot's text.
    pub const TEXT: &str = "Retry later";
}

inline_schema!(RetryLater, { "type": "string", "enum": [RetryLater::TEXT] });
