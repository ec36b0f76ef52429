//! Creates all error responses of the JSON API; no other module creates any. `bodies` defines the shapes; `from_status` maps each gRPC
//! status to a shape.
//!
//! As in Chatwoot, a missing permission results in 401, and invalid input in 422. The shapes are A `{"error"}`, B
//! `{"message","attributes"}`, C `{"errors"}` and D `{"status","error"}`. Message creation uses shape A for everything that is wrong with
//! the message.

pub(crate) mod bodies;
pub(crate) mod field_error;
mod from_status;

use crate::{
    errors::{
        bodies::{Error, ErrorBody, Fault, RecordError},
        field_error::{FieldError, echo},
    },
    json::respond,
    params::tree_budget::TooLarge,
};
use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};

/// Maximum number of violations that one error response lists.
const MAX_NAMED_ERRORS: usize = 50;

/// An error response.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    body: Body,
    retry_after: Option<u64>,
}

/// The result of a request handler.
pub type ApiResult = Result<Response, ApiError>;

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Json(Box<ErrorBody>),
    Text(&'static str),
    Empty,
}

impl ApiError {
    fn new(status: StatusCode, body: ErrorBody) -> Self {
        Self {
            status,
            body: Body::Json(Box::new(body)),
            retry_after: None,
        }
    }

    fn fault(status: StatusCode, error: String) -> Self {
        let body = Fault {
            status: status.as_u16().into(),
            error,
        };
        Self::new(status, ErrorBody::Fault(body))
    }

    /// Creates an error of shape B, `{"message","attributes"}`.
    fn invalid(message: String, attributes: Option<Vec<String>>) -> Self {
        let body = RecordError {
            message,
            attributes,
            existing_id: None,
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorBody::Record(body))
    }

    /// Creates an error of shape A, `{"error"}`.
    pub fn error(status: StatusCode, text: &str) -> Self {
        let body = Error {
            error: text.to_owned(),
            ..Error::default()
        };
        Self::new(status, ErrorBody::Error(body))
    }

    /// Creates an error of shape D, `{"status","error"}`.
    pub fn status_error(status: StatusCode) -> Self {
        Self::fault(status, status.canonical_reason().unwrap_or_default().to_owned())
    }

    /// Creates a 400 error for a request that exceeds a parser limit. The error has shape D and names the limit.
    pub fn limit_exceeded(limit: TooLarge) -> Self {
        Self::fault(StatusCode::BAD_REQUEST, format!("the request {}", limit.0))
    }

    /// Creates a 503 error for a request whose body does not fit into the memory budget for requests.
    pub fn no_memory() -> Self {
        Self {
            retry_after: Some(1),
            ..Self::status_error(StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    /// Creates a 404 error for a path that is not a route.
    pub fn unknown_route() -> Self {
        Self::status_error(StatusCode::NOT_FOUND)
    }

    /// Creates a 404 error for a request that would create a webhook in Chatwoot. The error message names the alternative.
    pub fn no_webhooks() -> Self {
        let text = "Not Found: Parley calls no URLs. Follow its stream of events: GET /api/v1/accounts/{account_id}/events, or gRPC.";
        Self::fault(StatusCode::NOT_FOUND, text.to_owned())
    }

    /// Creates a 404 error for a resource that does not exist.
    pub fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "Resource could not be found")
    }

    /// Creates a 422 error for a missing parameter.
    pub fn missing(key: &str) -> Self {
        Self::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("param is missing or the value is empty: {key}"),
        )
    }

    /// Creates a 422 error for a file that the route does not accept.
    pub fn no_files(field: &str) -> Self {
        Self::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("{}: files are not accepted here", echo(field)),
        )
    }

    /// Creates a 422 error of shape B for an update without a single known attribute. The error message names the attributes that were sent
    /// and the attributes that can be changed.
    pub fn unsupported(names: &[String], changeable: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| echo(name).into_owned()).collect();
        let text = format!(
            "{} cannot be changed here; these attributes can: {}",
            names.join(", "),
            changeable.join(", ")
        );
        Self::invalid(text, Some(names))
    }

    /// Creates a 422 error of shape B for invalid fields.
    pub fn record(field_errors: &[FieldError]) -> Self {
        let mut attributes: Vec<String> = Vec::new();
        for field_error in field_errors.iter().take(MAX_NAMED_ERRORS) {
            if !attributes.contains(&field_error.attribute) {
                attributes.push(field_error.attribute.clone());
            }
        }
        Self::invalid(joined(field_errors), Some(attributes))
    }

    /// Creates a 422 error of shape A for invalid fields, as message creation returns it.
    pub fn message(field_errors: &[FieldError]) -> Self {
        let text = match field_errors.iter().find(|field_error| field_error.is_standalone) {
            Some(field_error) => field_error.message.clone(),
            None => format!("Validation failed: {}", joined(field_errors)),
        };
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, &text)
    }

    /// Creates a 422 error for a contact that cannot be deleted because it is online. The contact's name is capitalized in the message.
    pub fn online(name: &str) -> Self {
        let mut letters = name.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        let text = format!("{first}{} is Online, please try again later", letters.as_str().to_lowercase());
        Self::invalid(text, None)
    }

    /// Creates a 422 error for filter conditions that are joined by an unknown operator or by none.
    pub fn bad_query_operator() -> Self {
        Self::error(StatusCode::UNPROCESSABLE_ENTITY, "Query operator must be either \"AND\" or \"OR\".")
    }

    /// Creates a 404 error without a body.
    pub fn empty_not_found() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            body: Body::Empty,
            retry_after: None,
        }
    }

    /// Whether the error response reports invalid input.
    pub fn is_invalid(&self) -> bool {
        self.status == StatusCode::UNPROCESSABLE_ENTITY
    }

    /// Whether the error response reports a missing resource.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Body::Json(body) => respond(self.status, &body),
            Body::Text(text) => (self.status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
            Body::Empty => self.status.into_response(),
        };
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Joins the first [`MAX_NAMED_ERRORS`] error messages, followed by the number of remaining errors.
fn joined(field_errors: &[FieldError]) -> String {
    let text = field_errors
        .iter()
        .take(MAX_NAMED_ERRORS)
        .map(|field_error| field_error.message.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    match field_errors.len().saturating_sub(MAX_NAMED_ERRORS) {
        0 => text,
        more => format!("{text}, and {more} more"),
    }
}
