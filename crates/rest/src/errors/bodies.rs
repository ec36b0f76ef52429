//! The bodies of error responses, with their schemas. They have the same shapes as in Chatwoot.

use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::schema::inline_schema;

/// The JSON body of an error response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ErrorBody {
    /// Shape A: one sentence in `error`.
    Error(Error),
    /// Shape B: `message` and `attributes`, for a resource that cannot be stored.
    Record(RecordError),
    /// Shape C: a list of sentences in `errors`.
    Credentials(CredentialsError),
    /// Shape D: `status` and `error`, for a protocol error or a server error.
    Fault(Fault),
}

/// An error that is described by one sentence.
#[allow(clippy::struct_field_names)] // The API's contract has chosen the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Error {
    /// Describes what is wrong, as a human-readable sentence.
    pub error: String,
    /// Stable name of the error, for use by programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub reason: Option<String>,
    /// Id of the existing resource that already has a value that must be unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub existing_id: Option<i64>,
    /// Seq of the oldest event that is kept. Present if the log cannot be read from the cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub earliest_seq: Option<i64>,
    /// Seq of the newest event. Present if the log cannot be read from the cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub head_seq: Option<i64>,
    /// Identity of the log's history. Present if the log cannot be read from the cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub epoch: Option<String>,
}

/// The error for a resource that cannot be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RecordError {
    /// Describes what is wrong, as sentences joined with commas.
    pub message: String,
    /// Names of the invalid fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub attributes: Option<Vec<String>>,
    /// Id of the existing resource that already has a value that must be unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub existing_id: Option<i64>,
}

/// The error for a request without a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CredentialsError {
    /// Describes what is wrong, as human-readable sentences.
    pub errors: Vec<String>,
}

/// An error of the protocol or the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fault {
    /// HTTP status of the response.
    pub status: i64,
    /// Name of the status, or a description of what is wrong.
    pub error: String,
}

/// The text body of a 429 response.
pub struct RetryLater;

impl RetryLater {
    /// The body text, which is the same as in Chatwoot.
    pub const TEXT: &str = "Retry later";
}

inline_schema!(RetryLater, { "type": "string", "enum": [RetryLater::TEXT] });
