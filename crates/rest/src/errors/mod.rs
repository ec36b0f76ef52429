//! The one place that makes an error of the JSON API: its shapes here, which refusal has which in `refusal`.
//!
//! Lack of permission is 401 and bad input 422 there; the shapes are A `{"error"}`, B `{"message","attributes"}`, C `{"errors"}` and
//! D `{"status","error"}`. Message creation has shape A for all that is wrong with the message.

mod refusal;
pub(crate) mod sentence;

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Value as Json, json};

use crate::{
    errors::sentence::{Complaint, echo},
    json::respond,
    params::tree_budget::TooLarge,
};

/// Sentences of one answer.
const SENTENCES: usize = 50;

/// What a refused request is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    status: StatusCode,
    body: Body,
    retry_after: Option<u64>,
}

/// What a handler answers.
pub type Answer = Result<Response, Failure>;

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Json(Json),
    Text(&'static str),
    Empty,
}

impl Failure {
    fn new(status: StatusCode, body: Json) -> Self {
        Self {
            status,
            body: Body::Json(body),
            retry_after: None,
        }
    }

    /// Shape A.
    pub fn error(status: StatusCode, text: &str) -> Self {
        Self::new(status, json!({ "error": text }))
    }

    /// Shape D.
    pub fn fault(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self::new(status, json!({ "status": status.as_u16(), "error": reason }))
    }

    /// 400 for a request that is beyond a limit of its reader: shape D with the limit as its text.
    pub fn beyond(limit: TooLarge) -> Self {
        let text = format!("the request {}", limit.0);
        Self::new(StatusCode::BAD_REQUEST, json!({ "status": 400, "error": text }))
    }

    /// 503 for a request for whose body there is no memory now.
    pub fn no_memory() -> Self {
        Self {
            retry_after: Some(1),
            ..Self::fault(StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    /// 404 for what is no route.
    pub fn unknown_route() -> Self {
        Self::fault(StatusCode::NOT_FOUND)
    }

    /// 404 for what would have created a webhook: says what there is in its place.
    pub fn no_webhooks() -> Self {
        let text = "Not Found: Parley calls no URLs. Follow its stream of events: GET /api/v1/accounts/{account_id}/events, or gRPC.";
        Self::new(StatusCode::NOT_FOUND, json!({ "status": 404, "error": text }))
    }

    /// 404 for a thing that is not there.
    pub fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "Resource could not be found")
    }

    /// 422 for a parameter that must be there.
    pub fn missing(key: &str) -> Self {
        Self::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("param is missing or the value is empty: {key}"),
        )
    }

    /// 422 for a file where none is taken.
    pub fn no_files(field: &str) -> Self {
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, &format!("{}: no file is taken here", echo(field)))
    }

    /// 422 in shape B for an update of which nothing is understood: names what was sent, and what could be.
    pub fn unsupported(names: &[String], changeable: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| echo(name)).collect();
        let text = format!(
            "{} cannot be changed here; what can be: {}",
            names.join(", "),
            changeable.join(", ")
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, json!({ "message": text, "attributes": names }))
    }

    /// Shape B.
    pub fn record(complaints: &[Complaint]) -> Self {
        let mut attributes: Vec<&str> = Vec::new();
        for complaint in complaints.iter().take(SENTENCES) {
            if !attributes.contains(&complaint.attribute.as_str()) {
                attributes.push(&complaint.attribute);
            }
        }
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "message": joined(complaints), "attributes": attributes }),
        )
    }

    /// Shape A, as message creation has it.
    pub fn message(complaints: &[Complaint]) -> Self {
        let text = match complaints.iter().find(|complaint| complaint.alone) {
            Some(complaint) => complaint.sentence.clone(),
            None => format!("Validation failed: {}", joined(complaints)),
        };
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, &text)
    }

    /// 422 for a contact that cannot be deleted while it is there, the name with its first letter large.
    pub fn online(name: &str) -> Self {
        let mut letters = name.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        let text = format!("{first}{} is Online, please try again later", letters.as_str().to_lowercase());
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, json!({ "message": text }))
    }

    /// 422 for conditions that are joined by something else, or by nothing.
    pub fn bad_query_operator() -> Self {
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, "Query operator must be either \"AND\" or \"OR\".")
    }

    /// 404 without a body.
    pub fn nothing() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            body: Body::Empty,
            retry_after: None,
        }
    }

    /// Whether the request itself is wrong.
    pub fn is_invalid(&self) -> bool {
        self.status == StatusCode::UNPROCESSABLE_ENTITY
    }

    /// Whether a thing is not there.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Body::Json(json) => respond(self.status, &json),
            Body::Text(text) => (self.status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
            Body::Empty => self.status.into_response(),
        };
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The first [`SENTENCES`] of them, and how many there are besides.
fn joined(complaints: &[Complaint]) -> String {
    let text = complaints
        .iter()
        .take(SENTENCES)
        .map(|complaint| complaint.sentence.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    match complaints.len().saturating_sub(SENTENCES) {
        0 => text,
        more => format!("{text}, and {more} more"),
    }
}
