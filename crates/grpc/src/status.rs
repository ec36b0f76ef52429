//! Maps errors to gRPC codes, reasons and details. No other module creates a `Status`.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use parley_eventlog::cursor::Cursor;
use parley_fault::Protection;
use parley_proto::ErrorReason;
use parley_types::error::{ConsumerFault, CursorFault, Error, FieldViolation, Rule};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::meter;

/// The trailer that carries the reason as text, for clients that do not decode the status details.
pub const REASON_TRAILER: &str = "parley-reason";

/// The `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "parley";

/// Returns the machine-readable name of a rule, which becomes the `reason` of a `google.rpc.BadRequest.FieldViolation`.
fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::Required => "REQUIRED",
        Rule::TooLong(_) => "TOO_LONG",
        Rule::TooMany(_) => "TOO_MANY",
        Rule::Invalid => "INVALID",
        Rule::Taken => "TAKEN",
        Rule::OutOfRange(_) => "OUT_OF_RANGE",
        Rule::Unknown => "UNKNOWN",
        Rule::NotExact => "NOT_EXACT",
    }
}

fn limit(rule: Rule) -> Option<String> {
    match rule {
        Rule::TooLong(limit) | Rule::TooMany(limit) => Some(limit.to_string()),
        Rule::OutOfRange(bound) => Some(bound.to_string()),
        _ => None,
    }
}

/// Maximum size in bytes of a message, of a violation's description, and of each other value in the details. All of them may repeat the
/// caller's input, so longer values are truncated. A status with one violation and every value at its maximum fits into [`STATUS_BYTES`].
const MESSAGE_BYTES: usize = 768;
const DESCRIPTION_BYTES: usize = 1024;
const VALUE_BYTES: usize = 256;

/// Maximum encoded size in bytes of the message and the details. gRPC clients accept 8 KiB of metadata by default. The rest (other headers,
/// and the 32 bytes per header that HTTP/2 adds to the count) needs less than 1 KiB.
const STATUS_BYTES: usize = 7 * 1024;

/// Truncates a string after at most `bytes` bytes, at a character boundary, and appends an ellipsis.
fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes && parley_fault::is_on(Protection::StatusSize) {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}

/// Returns the size of a status on the wire in bytes: the message is percent-encoded, and the details are encoded in base64.
fn wire_len(status: &Status) -> usize {
    let plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'%';
    let message: usize = status.message().bytes().map(|byte| if plain(&byte) { 1 } else { 3 }).sum();
    message + status.details().len().div_ceil(3) * 4
}

/// A status under construction, with exactly one `ErrorInfo`.
struct StatusBuilder {
    code: Code,
    reason: ErrorReason,
    metadata: HashMap<String, String>,
    /// The field violations, with their limits. The status includes as many violations as fit.
    violations: Vec<FieldViolation>,
    details: ErrorDetails,
}

impl StatusBuilder {
    fn new(code: Code, reason: ErrorReason) -> Self {
        Self {
            code,
            reason,
            metadata: HashMap::new(),
            violations: Vec::new(),
            details: ErrorDetails::new(),
        }
    }

    fn with(mut self, key: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.metadata.insert(key.into(), cut(value.to_string(), VALUE_BYTES));
        self
    }

    fn fields(mut self, violations: Vec<FieldViolation>) -> Self {
        self.violations = violations;
        self
    }

    fn retry(mut self, after: Duration) -> Self {
        self.details.set_retry_info(Some(after));
        self
    }

    /// Counts in the metrics, under `reason`, that a limit rejected the call.
    fn count_rejection(self, reason: &'static str) -> Self {
        meter::rejected(reason);
        self
    }

    fn resource(mut self, kind: &str, id: &str, message: &str) -> Self {
        self.details.set_resource_info(kind, cut(id.to_owned(), VALUE_BYTES), "", message);
        self
    }

    /// Builds the status. Violations are dropped from the end until the status fits into [`STATUS_BYTES`].
    fn status(self, message: String) -> Status {
        let message = cut(message, MESSAGE_BYTES);
        let mut named = self.violations.len();
        loop {
            let status = self.with_violations(named, message.clone());
            if named == 0 || wire_len(&status) <= STATUS_BYTES || !parley_fault::is_on(Protection::StatusSize) {
                return status;
            }
            named /= 2;
        }
    }

    /// Builds the status with the first `count` violations.
    fn with_violations(&self, count: usize, message: String) -> Status {
        let (mut metadata, mut details) = (self.metadata.clone(), self.details.clone());
        let name = |violation: &FieldViolation| cut(violation.field.clone(), VALUE_BYTES);
        let named = &self.violations[..count];
        for violation in named {
            if let Some(limit) = limit(violation.rule) {
                metadata.insert(format!("limit.{}", name(violation)), limit);
            }
        }
        if count < self.violations.len() {
            metadata.insert("unnamed_violations".to_owned(), (self.violations.len() - count).to_string());
        }
        if !named.is_empty() {
            let field = |violation: &FieldViolation| tonic_types::FieldViolation {
                field: name(violation),
                description: cut(violation.description.clone(), DESCRIPTION_BYTES),
                reason: rule_name(violation.rule).to_owned(),
                localized_message: None,
            };
            details.set_bad_request(named.iter().map(field).collect::<Vec<_>>());
        }
        let reason = self.reason.as_str_name();
        let reason = reason.strip_prefix("ERROR_REASON_").unwrap_or(reason);
        details.set_error_info(reason, DOMAIN, metadata);
        let mut status = Status::with_error_details(self.code, message, details);
        status.metadata_mut().insert(REASON_TRAILER, MetadataValue::from_static(reason));
        status
    }
}

/// Converts an error into a status with its reason and details.
pub fn to_status(error: Error) -> Status {
    let message = error.to_string();
    status_builder(error).status(message)
}

/// Converts the error in a result into a [`Status`]. `?` alone cannot convert it: both types are foreign to this crate, so the crate cannot
/// implement `From`.
pub trait OrStatus<T> {
    /// Converts the error with [`to_status`].
    ///
    /// # Errors
    /// Returns the error as a status.
    fn or_status(self) -> Result<T, Status>;
}

impl<T> OrStatus<T> for Result<T, Error> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(to_status)
    }
}

fn status_builder(error: Error) -> StatusBuilder {
    use ErrorReason as Reason;
    match error {
        Error::Invalid(violations) => StatusBuilder::new(Code::InvalidArgument, Reason::InvalidField).fields(violations),
        Error::Taken {
            violations,
            kind,
            existing_id,
        } => {
            let mut builder = StatusBuilder::new(Code::AlreadyExists, Reason::AlreadyTaken);
            if let Some(first) = violations.first() {
                builder = builder.with("field", &first.field);
            }
            builder = builder.fields(violations);
            match existing_id {
                Some(id) => builder.with("existing_id", id).resource(kind, &id.to_string(), "has this value"),
                None => builder,
            }
        }
        Error::NotFound { kind, id } => StatusBuilder::new(Code::NotFound, Reason::NotFound)
            .with("kind", kind)
            .with("id", &id)
            .resource(kind, &id, "does not exist in this account"),
        Error::TokenMissing => StatusBuilder::new(Code::Unauthenticated, Reason::TokenMissing),
        Error::TokenInvalid => StatusBuilder::new(Code::Unauthenticated, Reason::TokenInvalid),
        Error::NotMember(account) => StatusBuilder::new(Code::PermissionDenied, Reason::NotAMember).with("account_id", account),
        Error::Denied(_) => StatusBuilder::new(Code::PermissionDenied, Reason::NotAllowed),
        Error::WrongToken(_) => StatusBuilder::new(Code::PermissionDenied, Reason::WrongTokenKind),
        Error::NotConnected(account) => StatusBuilder::new(Code::PermissionDenied, Reason::BotNotConnected).with("account_id", account),
        Error::Unsigned(_) => StatusBuilder::new(Code::Unauthenticated, Reason::IdentifierUnsigned),
        Error::Suspended(account) => StatusBuilder::new(Code::PermissionDenied, Reason::AccountSuspended).with("account_id", account),
        Error::IdempotencyKeyReused(id) => StatusBuilder::new(Code::AlreadyExists, Reason::IdempotencyKeyReused).with("request_id", id),
        Error::Cursor {
            fault,
            earliest,
            head,
            epoch,
        } => {
            let reason = match fault {
                CursorFault::Expired => Reason::CursorExpired,
                CursorFault::Ahead => Reason::CursorAheadOfLog,
                CursorFault::EpochChanged => Reason::EpochChanged,
            };
            StatusBuilder::new(Code::OutOfRange, reason)
                .with("earliest_seq", earliest)
                .with("head_seq", head)
                .with("epoch", format!("{epoch:x}"))
        }
        Error::Consumer(fault) => match fault {
            ConsumerFault::TakenOver => StatusBuilder::new(Code::Aborted, Reason::ConsumerTakenOver),
            ConsumerFault::OtherFilter => StatusBuilder::new(Code::FailedPrecondition, Reason::ConsumerDiffers).with("field", "filter"),
            ConsumerFault::OtherShards(count) => StatusBuilder::new(Code::FailedPrecondition, Reason::ConsumerDiffers)
                .with("field", "shard_count")
                .with("shard_count", count),
        },
        Error::CursorForeign => StatusBuilder::new(Code::PermissionDenied, Reason::CursorOfAnotherAccount),
        Error::Flood { limit, retry_after } => StatusBuilder::new(Code::ResourceExhausted, Reason::RateLimited)
            .with("limit", format!("{limit} messages a minute in one conversation"))
            .retry(retry_after)
            .count_rejection("flood"),
        Error::RateLimited { limit, retry_after } => StatusBuilder::new(Code::ResourceExhausted, Reason::RateLimited)
            .with("scope", "token")
            .with("limit", format!("{limit} calls a second"))
            .retry(retry_after)
            .count_rejection("rate"),
        Error::QuotaExceeded(exceeded) => StatusBuilder::new(Code::ResourceExhausted, Reason::RateLimited)
            .with("scope", exceeded.scope)
            .with("limit", format!("{} {}", exceeded.limit, exceeded.quota))
            .retry(exceeded.retry_after)
            .count_rejection("quota"),
        Error::TooManyStreams(limit) => StatusBuilder::new(Code::ResourceExhausted, Reason::RateLimited)
            .with("scope", "token")
            .with("limit", format!("{limit} streams"))
            .retry(Duration::from_secs(1))
            .count_rejection("streams"),
        Error::Busy { retry_after } => StatusBuilder::new(Code::ResourceExhausted, Reason::Busy)
            .retry(retry_after)
            .count_rejection("busy"),
        Error::Unavailable { retry_after, .. } => StatusBuilder::new(Code::Unavailable, Reason::Unavailable).retry(retry_after),
        Error::Precondition(_) => StatusBuilder::new(Code::FailedPrecondition, Reason::FailedPrecondition),
        Error::Unimplemented(_) => StatusBuilder::new(Code::Unimplemented, Reason::Unimplemented),
        Error::Database(ref source) => {
            tracing::error!(error = %source, "database error");
            StatusBuilder::new(Code::Internal, Reason::Internal)
        }
        Error::Internal(ref fault) => {
            tracing::error!(fault, "internal error");
            StatusBuilder::new(Code::Internal, Reason::Internal)
        }
    }
}

/// Returns the status that ends a stream that the client should resume on another connection after `retry_after`, with the cursor to resume
/// from.
pub fn rotated(cursor: Option<Cursor>, retry_after: Duration) -> Status {
    let builder = StatusBuilder::new(Code::Unavailable, ErrorReason::StreamRotated).retry(retry_after);
    let status = builder.status("the server ended the stream; resume after its cursor, or start again if it has none".to_owned());
    ended_at(status, cursor)
}

/// The trailer that carries the position at which a stream ended.
const CURSOR: &str = "parley-cursor-bin";

/// Adds the stream's last cursor to the status that ends it, unless the status already has one. A stream without a cursor, such as a
/// snapshot, which cannot be resumed, leaves the status unchanged.
pub fn ended_at(mut status: Status, cursor: Option<Cursor>) -> Status {
    let is_rotation = status.code() == Code::Unavailable;
    if let Some(cursor) = cursor.filter(|_| is_rotation || parley_fault::is_on(Protection::EndCursor))
        && status.metadata().get_bin(CURSOR).is_none()
    {
        let cursor = tonic::metadata::MetadataValue::from_bytes(&cursor.encode());
        status.metadata_mut().insert_bin(CURSOR, cursor);
    }
    status
}

/// Returns the trailers of a stream that ends because the server is shutting down.
pub fn shutdown_trailers() -> http::HeaderMap {
    let error = Error::Unavailable {
        reason: "the server is shutting down",
        retry_after: Duration::from_millis(500),
    };
    let mut trailers = to_status(error).into_http::<tonic::body::Body>().into_parts().0.headers;
    trailers.remove(http::header::CONTENT_TYPE);
    trailers
}

/// Returns the status for a stream whose subscriber has not read for too long.
pub fn stalled() -> Status {
    StatusBuilder::new(Code::DeadlineExceeded, ErrorReason::StreamStalled)
        .status("the client stopped reading from the stream for too long".to_owned())
}

/// The number of prebuilt responses in [`busy`].
const BUSY_RESPONSES: u32 = 16;

/// Returns a prebuilt response to a call that exceeds the limit on calls in flight. The responses are prebuilt because rejections must be
/// cheapest when they are most frequent.
pub fn busy() -> http::Response<tonic::body::Body> {
    // Vary the retry delays, so that rejected clients do not all retry at the same time.
    static RESPONSES: LazyLock<Vec<http::HeaderMap>> = LazyLock::new(|| {
        let refused = |index: u32| {
            let retry_after = Duration::from_millis(100) + Duration::from_millis(25) * index;
            let builder = StatusBuilder::new(Code::ResourceExhausted, ErrorReason::Busy).retry(retry_after);
            let status = builder.status(Error::Busy { retry_after }.to_string());
            status.into_http::<tonic::body::Body>().into_parts().0.headers
        };
        (0..BUSY_RESPONSES).map(refused).collect()
    });
    meter::rejected("busy");
    let mut answer = http::Response::new(tonic::body::Body::empty());
    let index = rand::random_range(0..RESPONSES.len());
    answer.headers_mut().clone_from(&RESPONSES[index]);
    answer
}

/// Returns the status for a request whose body does not fit into the memory budget for requests.
pub fn no_memory() -> Status {
    let builder = StatusBuilder::new(Code::ResourceExhausted, ErrorReason::Busy).retry(Duration::from_secs(1));
    builder.status("the requests in flight use the whole memory budget; retry later".to_owned())
}

/// Returns the status for a call during a database outage.
pub fn database_unavailable() -> Status {
    let error = Error::Unavailable {
        reason: "the database is unavailable; a write in progress may still have been stored",
        retry_after: Duration::from_secs(1),
    };
    to_status(error)
}

/// Returns the status for a call whose message did not arrive completely in time.
pub fn message_timeout() -> Status {
    StatusBuilder::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded)
        .status("the message took too long to arrive; see limits.body_timeout_seconds".to_owned())
}

/// Returns the status for a call whose deadline expired.
pub fn deadline_exceeded() -> Status {
    StatusBuilder::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded)
        .status("the deadline expired; a write may still have been stored".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parley_types::id::{AccountId, Epoch, Seq};

    #[test]
    fn reports_every_invalid_field_with_rule_and_limit() {
        let violations = vec![
            FieldViolation::new("name", Rule::TooLong(255), "must have at most 255 characters"),
            FieldViolation::new("email", Rule::Invalid, "must be an address"),
        ];
        let status = to_status(Error::Invalid(violations));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", "parley"));
        assert_eq!(info.metadata["limit.name"], "255");
        let fields: Vec<_> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|v| (v.field.as_str(), v.reason.as_str()))
            .collect();
        assert_eq!(fields, [("name", "TOO_LONG"), ("email", "INVALID")]);
    }

    /// Whatever the caller sent, the status fits into the metadata that clients accept.
    #[test]
    fn statuses_are_bounded() {
        let long = "é".repeat(100_000);
        let mut violations: Vec<_> = (0..5)
            .map(|number| FieldViolation::new(format!("a.{number}.{long}"), Rule::TooLong(number), long.clone()))
            .collect();
        violations.extend((0..5000).map(|number| FieldViolation::new(format!("a.{number}"), Rule::Invalid, "must be better")));
        for error in [
            Error::not_found("inbox", &long),
            Error::Internal(long.clone()),
            Error::Taken {
                violations: violations.clone(),
                kind: "contact",
                existing_id: Some(1),
            },
            Error::Invalid(violations),
        ] {
            let status = to_status(error);
            assert!(wire_len(&status) <= STATUS_BYTES, "{}", wire_len(&status));
            assert!(!status.get_error_details().error_info().unwrap().reason.is_empty());
        }
        let few: Vec<_> = (0..20)
            .map(|number| {
                FieldViolation::new(
                    format!("messages[{number}].content"),
                    Rule::TooLong(150_000),
                    "must have at most 150000 characters",
                )
            })
            .collect();
        let status = to_status(Error::Invalid(few));
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations.len(), 20);
    }

    #[test]
    fn retryable_errors_have_a_retry_delay() {
        for error in [
            Error::Busy {
                retry_after: Duration::from_millis(200),
            },
            Error::Unavailable {
                reason: "x",
                retry_after: Duration::from_secs(1),
            },
            Error::Flood {
                limit: 200,
                retry_after: Duration::from_secs(2),
            },
        ] {
            let status = to_status(error);
            assert!(status.get_error_details().retry_info().unwrap().retry_delay.is_some(), "{status:?}");
        }
        let cursor = Cursor {
            account: AccountId(1),
            epoch: Epoch(2),
            seq: Seq(3),
            mark: None,
        };
        let status = rotated(Some(cursor), Duration::ZERO);
        let trailer = status.metadata().get_bin("parley-cursor-bin").unwrap().to_bytes().unwrap();
        assert_eq!(trailer, cursor.encode());
        assert!(rotated(None, Duration::ZERO).metadata().get_bin("parley-cursor-bin").is_none());
    }
}
