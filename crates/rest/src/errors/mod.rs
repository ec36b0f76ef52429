//! The only place that creates error responses of the JSON API. The shapes are defined here; `refusal` maps each gRPC status to one.
//!
//! As in Chatwoot, missing permission is 401 and invalid input 422. The shapes are A `{"error"}`, B `{"message","attributes"}`, C
//! `{"errors"}` and D `{"status","error"}`. Message creation uses shape A for everything that is wrong with the message.

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

/// Maximum number of violations named in one response.
const SENTENCES: usize = 50;

/// An error response.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    status: StatusCode,
    body: Body,
    retry_after: Option<u64>,
}

/// The result of a handler.
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

    /// Creates an error of shape A.
    pub fn error(status: StatusCode, text: &str) -> Self {
        Self::new(status, json!({ "error": text }))
    }

    /// Creates an error of shape D.
    pub fn fault(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        Self::new(status, json!({ "status": status.as_u16(), "error": reason }))
    }

    /// 400 for a request that exceeds a parser limit: shape D, with the limit as its text.
    pub fn beyond(limit: TooLarge) -> Self {
        let text = format!("the request {}", limit.0);
        Self::new(StatusCode::BAD_REQUEST, json!({ "status": 400, "error": text }))
    }

    /// 503 for a request whose body does not fit into the memory budget of requests.
    pub fn no_memory() -> Self {
        Self {
            retry_after: Some(1),
            ..Self::fault(StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    /// 404 for a path that is not a route.
    pub fn unknown_route() -> Self {
        Self::fault(StatusCode::NOT_FOUND)
    }

    /// 404 for a request that would create a webhook in Chatwoot. The text names the alternative.
    pub fn no_webhooks() -> Self {
        let text = "Not Found: Parley calls no URLs. Follow its stream of events: GET /api/v1/accounts/{account_id}/events, or gRPC.";
        Self::new(StatusCode::NOT_FOUND, json!({ "status": 404, "error": text }))
    }

    /// 404 for a resource that does not exist.
    pub fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "Resource could not be found")
    }

    /// 422 for a missing parameter.
    pub fn missing(key: &str) -> Self {
        Self::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("param is missing or the value is empty: {key}"),
        )
    }

    /// 422 for a file that the route does not accept.
    pub fn no_files(field: &str) -> Self {
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, &format!("{}: no file is taken here", echo(field)))
    }

    /// 422 of shape B for an update without a single known attribute. Names the attributes that were sent and those that can be changed.
    pub fn unsupported(names: &[String], changeable: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| echo(name)).collect();
        let text = format!(
            "{} cannot be changed here; what can be: {}",
            names.join(", "),
            changeable.join(", ")
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, json!({ "message": text, "attributes": names }))
    }

    /// 422 of shape B for invalid fields.
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

    /// 422 of shape A, as for message creation.
    pub fn message(complaints: &[Complaint]) -> Self {
        let text = match complaints.iter().find(|complaint| complaint.alone) {
            Some(complaint) => complaint.sentence.clone(),
            None => format!("Validation failed: {}", joined(complaints)),
        };
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, &text)
    }

    /// 422 for a contact that cannot be deleted because it is online. The name is capitalized.
    pub fn online(name: &str) -> Self {
        let mut letters = name.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        let text = format!("{first}{} is Online, please try again later", letters.as_str().to_lowercase());
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, json!({ "message": text }))
    }

    /// 422 for filter conditions that are joined by an unknown operator or none.
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

    /// Whether the response reports invalid input.
    pub fn is_invalid(&self) -> bool {
        self.status == StatusCode::UNPROCESSABLE_ENTITY
    }

    /// Whether the response reports a missing resource.
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

/// Joins the first [`SENTENCES`] messages, followed by the number of the remaining ones.
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
