//! Maps gRPC statuses to HTTP status codes and bodies of the JSON API.

use std::time::Duration;

use axum::http::StatusCode;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{ApiError, Body};
use crate::errors::{
    bodies::{CredentialsError, Error, ErrorBody, RecordError, RetryLater},
    field_error::FieldError,
};

impl ApiError {
    /// Creates the 410 error for a cursor from which the log cannot be resumed. The error contains the range of the log. An `EventSource`
    /// does not reconnect after a 410 response.
    fn gone(reason: &str, status: &Status) -> Self {
        let details = status.get_error_details();
        let detail = |key: &str| metadata(&details, key).unwrap_or_default();
        let number = |key: &str| detail(key).parse::<i64>().unwrap_or_default();
        let body = Error {
            error: status.message().to_owned(),
            reason: Some(reason.to_owned()),
            existing_id: None,
            earliest_seq: Some(number("earliest_seq")),
            head_seq: Some(number("head_seq")),
            epoch: Some(detail("epoch").to_owned()),
        };
        Self::new(StatusCode::GONE, ErrorBody::Error(body))
    }

    /// Creates an error of shape A with a `reason`, by which programs can identify the cause.
    fn with_reason(status: StatusCode, text: &str, reason: &str) -> Self {
        let body = Error {
            error: text.to_owned(),
            reason: Some(reason.to_owned()),
            ..Error::default()
        };
        Self::new(status, ErrorBody::Error(body))
    }

    /// Converts the gRPC status of a failed message creation.
    pub fn from_message(status: &Status) -> Self {
        Self::of(status, Self::message)
    }

    /// Converts the gRPC status of a call that failed to update the delivery status of a message.
    pub fn from_message_status(status: &Status) -> Self {
        if reason(&status.get_error_details()) == "FAILED_PRECONDITION" {
            return Self::error(StatusCode::FORBIDDEN, "Message status update is only allowed for API inboxes");
        }
        Self::of(status, Self::record)
    }

    /// Converts the gRPC status of a failed filter query to an error that contains the first violation, in the service's wording.
    pub fn from_filter(status: &Status) -> Self {
        let details = status.get_error_details();
        let faults = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        match faults.first() {
            Some(fault) if fault.field.starts_with("filter.") => Self::error(StatusCode::UNPROCESSABLE_ENTITY, &fault.description),
            _ => Self::of(status, Self::record),
        }
    }

    /// Converts the gRPC status of a failed retry of a message. As in Chatwoot, an unknown message results in 422 rather than 404.
    pub fn from_retry(status: &Status, id: i64) -> Self {
        let details = status.get_error_details();
        let kind = details.error_info().and_then(|info| info.metadata.get("kind"));
        if reason(&details) == "NOT_FOUND" && kind.is_some_and(|kind| kind == "message") {
            let text = format!("Couldn't find Message with 'id'={id}");
            return Self::error(StatusCode::UNPROCESSABLE_ENTITY, &text);
        }
        Self::from(status.clone())
    }

    /// Converts the gRPC status of a failed client API call. A missing resource results in the same response as an unknown route.
    pub fn from_client(status: &Status) -> Self {
        if reason(&status.get_error_details()) == "NOT_FOUND" {
            return Self::unknown_route();
        }
        Self::of(status, Self::record)
    }

    /// Converts the gRPC status of a failed platform API call. Any token other than the operator's results in the same response as an
    /// invalid token.
    pub fn from_platform(status: &Status) -> Self {
        match reason(&status.get_error_details()) {
            "TOKEN_MISSING" | "TOKEN_INVALID" | "NOT_ALLOWED" | "NOT_A_MEMBER" | "WRONG_TOKEN_KIND" | "BOT_NOT_CONNECTED" => {
                Self::error(StatusCode::UNAUTHORIZED, "Invalid access_token")
            }
            "NOT_FOUND" => Self::unknown_route(),
            _ => Self::of(status, Self::record),
        }
    }

    /// Returns the id, from the gRPC status, of the existing resource that has the same value as the request in a field that must be
    /// unique.
    pub fn existing_id(status: &Status) -> Option<i64> {
        metadata(&status.get_error_details(), "existing_id")?.parse().ok()
    }

    /// Returns the kind of resource that was not found, or `None` if the gRPC status reports another error.
    pub fn missing_kind(status: &Status) -> Option<String> {
        let details = status.get_error_details();
        metadata(&details, "kind")
            .filter(|_| reason(&details) == "NOT_FOUND")
            .map(str::to_owned)
    }

    fn of(status: &Status, invalid: fn(&[FieldError]) -> Self) -> Self {
        let details = status.get_error_details();
        let unauthorized = |text| Self::error(StatusCode::UNAUTHORIZED, text);
        match reason(&details) {
            "TOKEN_MISSING" => Self::new(
                StatusCode::UNAUTHORIZED,
                ErrorBody::Credentials(CredentialsError {
                    errors: vec!["You need to sign in or sign up before continuing.".to_owned()],
                }),
            ),
            "TOKEN_INVALID" => unauthorized("Invalid Access Token"),
            "NOT_A_MEMBER" => unauthorized("You are not authorized to access this account"),
            "WRONG_TOKEN_KIND" => unauthorized("Access to this endpoint is not authorized for bots"),
            "BOT_NOT_CONNECTED" => unauthorized("Bot is not authorized to access this account"),
            "IDENTIFIER_UNSIGNED" => Self::status_error(StatusCode::UNAUTHORIZED),
            "NOT_ALLOWED" => unauthorized("You are not authorized to do this action"),
            "ACCOUNT_SUSPENDED" => unauthorized("Account is suspended"),
            "NOT_FOUND" => Self::not_found(),
            "INVALID_FIELD" => invalid(&field_errors(&details, status)),
            "ALREADY_TAKEN" => Self::taken(&details, status, invalid),
            reason @ ("CURSOR_EXPIRED" | "CURSOR_AHEAD_OF_LOG" | "EPOCH_CHANGED") => Self::gone(reason, status),
            reused @ "IDEMPOTENCY_KEY_REUSED" => Self::with_reason(
                StatusCode::CONFLICT,
                "Idempotency-Key was used for another request within the last day",
                reused,
            ),
            foreign @ "CURSOR_OF_ANOTHER_ACCOUNT" => Self::with_reason(StatusCode::UNPROCESSABLE_ENTITY, status.message(), foreign),
            "RATE_LIMITED" if details.error_info().is_some_and(|info| info.metadata.contains_key("scope")) => Self::retry_later(&details),
            "RATE_LIMITED" => invalid(&[FieldError::whole("Too many messages")]).retry(&details),
            "BUSY" => Self::retry_later(&details),
            // The server did not respond in time. As during an outage, a later retry may succeed.
            "UNAVAILABLE" | "STREAM_ROTATED" | "DEADLINE_EXCEEDED" => Self::status_error(StatusCode::SERVICE_UNAVAILABLE).retry(&details),
            "FAILED_PRECONDITION" => Self::error(StatusCode::UNPROCESSABLE_ENTITY, status.message()),
            _ => Self::from_code(status.code()),
        }
    }

    /// Converts a gRPC status that has no reason. Such statuses are created by the layers below the services, such as the codec.
    fn from_code(code: Code) -> Self {
        match code {
            Code::Unavailable | Code::DeadlineExceeded => {
                Self::status_error(StatusCode::SERVICE_UNAVAILABLE).retry(&ErrorDetails::default())
            }
            // The request was rejected because decoding it would create more elements than allowed.
            Code::InvalidArgument => Self::status_error(StatusCode::BAD_REQUEST),
            // The message exceeds the codec's size limit.
            Code::OutOfRange => Self::status_error(StatusCode::PAYLOAD_TOO_LARGE),
            _ => Self::status_error(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn taken(details: &ErrorDetails, status: &Status, invalid: fn(&[FieldError]) -> Self) -> Self {
        let fields: Vec<_> = details
            .bad_request()
            .map(|bad| bad.field_violations.iter().map(|v| v.field.as_str()).collect())
            .unwrap_or_default();
        let mut failure = if fields == ["source_id"] {
            Self::error(StatusCode::UNPROCESSABLE_ENTITY, "source_id should be unique")
        } else {
            invalid(&field_errors(details, status))
        };
        let existing = metadata(details, "existing_id").and_then(|id| id.parse::<i64>().ok());
        if let Body::Json(body) = &mut failure.body
            && let ErrorBody::Error(Error { existing_id, .. }) | ErrorBody::Record(RecordError { existing_id, .. }) = &mut **body
        {
            *existing_id = existing;
        }
        failure
    }

    /// Creates a 429 error with Chatwoot's message.
    fn retry_later(details: &ErrorDetails) -> Self {
        let failure = Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            body: Body::Text(RetryLater::TEXT),
            retry_after: None,
        };
        failure.retry(details)
    }

    /// Creates a 429 error with a retry delay, for limits that the gateway itself enforces.
    pub fn too_many(retry_after: Duration) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            body: Body::Text(RetryLater::TEXT),
            retry_after: Some(whole_seconds(retry_after)),
        }
    }

    /// Sets `Retry-After` to the retry delay in the gRPC status, in whole seconds and at least 1.
    fn retry(mut self, details: &ErrorDetails) -> Self {
        let delay = details.retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
        self.retry_after = Some(whole_seconds(delay));
        self
    }
}

/// Rounds a delay up to whole seconds, with a minimum of 1.
fn whole_seconds(delay: Duration) -> u64 {
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        Self::of(&status, Self::record)
    }
}

fn reason(details: &ErrorDetails) -> &str {
    details.error_info().map_or("", |info| info.reason.as_str())
}

fn metadata<'a>(details: &'a ErrorDetails, key: &str) -> Option<&'a str> {
    details.error_info()?.metadata.get(key).map(String::as_str)
}

fn field_errors(details: &ErrorDetails, status: &Status) -> Vec<FieldError> {
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    if violations.is_empty() {
        return vec![FieldError::whole(status.message())];
    }
    violations
        .iter()
        .map(|violation| FieldError::of(violation, metadata(details, &format!("limit.{}", violation.field))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::{
        http::header::{CONTENT_TYPE, RETRY_AFTER},
        response::IntoResponse as _,
    };
    use serde_json::{Value as Json, json};
    use tonic_types::FieldViolation;

    use super::*;

    fn refusal(code: Code, reason: &str, metadata: &[(&str, &str)], violations: &[(&str, &str)]) -> Status {
        let metadata: HashMap<String, String> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut details = ErrorDetails::with_error_info(reason, "parley", metadata);
        if !violations.is_empty() {
            let violations = violations.iter().map(|(field, rule)| {
                let mut violation = FieldViolation::new(*field, "is wrong");
                violation.reason = (*rule).to_owned();
                violation
            });
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        Status::with_error_details(code, "said so", details)
    }

    fn answer(failure: ApiError) -> (u16, Json) {
        match failure.body {
            Body::Json(body) => (failure.status.as_u16(), json!(body)),
            Body::Text(text) => (failure.status.as_u16(), json!(text)),
            Body::Empty => (failure.status.as_u16(), Json::Null),
        }
    }

    #[test]
    fn maps_authorization_errors() {
        for (code, reason, status, body) in [
            (
                Code::Unauthenticated,
                "TOKEN_MISSING",
                401,
                json!({"errors": ["You need to sign in or sign up before continuing."]}),
            ),
            (
                Code::Unauthenticated,
                "TOKEN_INVALID",
                401,
                json!({"error": "Invalid Access Token"}),
            ),
            (
                Code::PermissionDenied,
                "NOT_A_MEMBER",
                401,
                json!({"error": "You are not authorized to access this account"}),
            ),
            (
                Code::PermissionDenied,
                "NOT_ALLOWED",
                401,
                json!({"error": "You are not authorized to do this action"}),
            ),
            (
                Code::PermissionDenied,
                "ACCOUNT_SUSPENDED",
                401,
                json!({"error": "Account is suspended"}),
            ),
            (Code::NotFound, "NOT_FOUND", 404, json!({"error": "Resource could not be found"})),
            (
                Code::Internal,
                "INTERNAL",
                500,
                json!({"status": 500, "error": "Internal Server Error"}),
            ),
            (
                Code::Unavailable,
                "UNAVAILABLE",
                503,
                json!({"status": 503, "error": "Service Unavailable"}),
            ),
            (
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                503,
                json!({"status": 503, "error": "Service Unavailable"}),
            ),
            (Code::FailedPrecondition, "FAILED_PRECONDITION", 422, json!({"error": "said so"})),
        ] {
            assert_eq!(answer(refusal(code, reason, &[], &[]).into()), (status, body), "{reason}");
        }
        let (status, body) = answer(refusal(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", &[], &[]).into());
        assert_eq!((status, &body["reason"]), (409, &json!("IDEMPOTENCY_KEY_REUSED")));
        assert_eq!(answer(Status::internal("no details").into()).0, 500);
    }

    #[test]
    fn reports_every_invalid_field_once() {
        let status = refusal(
            Code::InvalidArgument,
            "INVALID_FIELD",
            &[("limit.email", "255")],
            &[("email", "INVALID"), ("email", "TOO_LONG"), ("phone_number", "INVALID")],
        );
        assert_eq!(
            answer(status.into()),
            (
                422,
                json!({
                    "message": "Email Invalid email, Email is too long (maximum is 255 characters), Phone number should be in e164 format",
                    "attributes": ["email", "phone_number"],
                })
            )
        );
    }

    #[test]
    fn duplicates_report_the_existing_id() {
        let taken = |field| refusal(Code::AlreadyExists, "ALREADY_TAKEN", &[("existing_id", "41")], &[(field, "TAKEN")]);
        assert_eq!(
            answer(taken("email").into()),
            (
                422,
                json!({"message": "Email has already been taken", "attributes": ["email"], "existing_id": 41})
            )
        );
        assert_eq!(
            answer(taken("source_id").into()),
            (422, json!({"error": "source_id should be unique", "existing_id": 41}))
        );
        assert_eq!(
            answer(ApiError::from_message(&taken("message.source_id"))),
            (
                422,
                json!({"error": "Validation failed: Source has already been taken", "existing_id": 41})
            )
        );
    }

    #[test]
    fn message_errors_have_their_own_shape() {
        let long = refusal(
            Code::InvalidArgument,
            "INVALID_FIELD",
            &[("limit.message.content", "150000")],
            &[("message.content", "TOO_LONG")],
        );
        assert_eq!(
            answer(ApiError::from_message(&long)),
            (
                422,
                json!({"error": "Validation failed: Content is too long (maximum is 150000 characters)"})
            )
        );
        let flood = refusal(Code::ResourceExhausted, "RATE_LIMITED", &[], &[]);
        assert_eq!(
            answer(ApiError::from_message(&flood)),
            (422, json!({"error": "Validation failed: Too many messages"}))
        );
        assert_eq!(
            answer(ApiError::message(&[
                FieldError::new("content", "x"),
                FieldError::invalid_choice("message_type", "foo")
            ])),
            (422, json!({"error": "'foo' is not a valid message_type"}))
        );
        let wrong_inbox = refusal(Code::FailedPrecondition, "FAILED_PRECONDITION", &[], &[]);
        assert_eq!(
            answer(ApiError::from_message_status(&wrong_inbox)),
            (403, json!({"error": "Message status update is only allowed for API inboxes"}))
        );
    }

    #[test]
    fn busy_has_retry_after() {
        let mut details = ErrorDetails::with_error_info("BUSY", "parley", HashMap::<String, String>::new());
        details.set_retry_info(Some(Duration::from_millis(1200)));
        let response = ApiError::from(Status::with_error_details(Code::ResourceExhausted, "busy", details)).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}
