//! Errors, classified by what the caller can do about them.
//!
//! These types do not depend on gRPC or HTTP: only `parley_grpc::status` converts them to a `Status`, and only `parley_rest::errors`
//! converts a `Status` to a JSON body.

#[cfg(feature = "sea-orm")]
mod database;

use std::{sync::Arc, time::Duration};

use crate::id::{AccountId, Epoch, Seq};
#[cfg(feature = "sea-orm")]
pub use database::{OUT_OF_SPACE, is_out_of_space, is_unique_violation};

/// A `Result` whose error type defaults to [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The rule that a field violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A value is required.
    Required,
    /// The value has more characters than this maximum.
    TooLong(usize),
    /// The list has more elements than this maximum.
    TooMany(usize),
    /// The value is malformed.
    Invalid,
    /// Another object already has this value.
    Taken,
    /// The value is out of range. Contains the bound that the value violates.
    OutOfRange(i64),
    /// The value refers to an object that does not exist.
    Unknown,
    /// The value is a number that a double cannot represent exactly.
    NotExact,
}

/// A field that violates a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field in the request, separated by dots.
    pub field: String,
    pub rule: Rule,
    /// A description of a valid value.
    pub description: String,
}

impl FieldViolation {
    /// Creates a violation of `rule` by `field`.
    pub fn new(field: impl Into<String>, rule: Rule, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            rule,
            description: description.into(),
        }
    }
}

/// Why a session of a durable consumer cannot open or continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerFault {
    /// A newer session owns the shard.
    TakenOver,
    /// The consumer was created with another filter.
    OtherFilter,
    /// The consumer has this number of shards instead of the requested number, which cannot be applied while the consumer has open
    /// sessions.
    OtherShards(i64),
}

/// Why reading cannot continue after a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorFault {
    /// The events after the cursor were trimmed.
    Expired,
    /// The cursor is ahead of the newest event.
    Ahead,
    /// The log's history was replaced after the cursor was issued.
    EpochChanged,
}

/// A quota that is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What the quota applies to: `address`, `inbox`, `session` or `account`.
    pub scope: &'static str,
    /// What the quota counts, such as `new sessions a minute`.
    pub quota: &'static str,
    pub limit: u64,
    /// How long to wait before a retry.
    pub retry_after: Duration,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scope, quota, limit, .. } = self;
        write!(f, "this {scope} may have at most {limit} {quota}")
    }
}

/// An error. The variants are distinguished by what the caller can do about them.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Some fields are invalid: correct them.
    #[error("{}", join_descriptions(.0))]
    Invalid(Vec<FieldViolation>),
    /// Another object already has these unique values: use that object, or choose other values.
    #[error("{kind} already exists: {}", join_descriptions(.violations))]
    Taken {
        violations: Vec<FieldViolation>,
        /// The kind of object that has the values.
        kind: &'static str,
        /// The id of the object that has the first of the values.
        existing_id: Option<i64>,
    },
    /// The account has no such object.
    #[error("{kind} {id} not found")]
    NotFound {
        /// The kind of object.
        kind: &'static str,
        /// The requested id.
        id: String,
    },
    /// The call contains no token: send one.
    #[error("the call has no token")]
    TokenMissing,
    /// The token is unknown, expired or revoked: send another one.
    #[error("the token is unknown, expired or revoked")]
    TokenInvalid,
    /// The user is not a member of the account: ask to be added.
    #[error("the token has no access to account {0}")]
    NotMember(AccountId),
    /// The caller lacks a permission that the call requires: ask someone who has it to make the call.
    #[error("{0}")]
    Denied(&'static str),
    /// This kind of token is valid for only a few other calls: use another kind of token.
    #[error("{0}")]
    WrongToken(&'static str),
    /// The bot is not connected to an inbox of the account: connect it to one.
    #[error("the bot is not connected to any inbox of account {0}")]
    NotConnected(AccountId),
    /// The identifier must be signed with the channel's key.
    #[error("{0}")]
    Unsigned(&'static str),
    /// The account is suspended: ask the operator.
    #[error("account {0} is suspended")]
    Suspended(AccountId),
    /// Another request has used the `request_id`: use a new one.
    #[error("request_id {0} was used by another request")]
    IdempotencyKeyReused(uuid::Uuid),
    /// Reading cannot continue after the cursor: start again at a position that the log still holds.
    #[error("{}", match fault {
        CursorFault::Expired => "the events after the cursor were trimmed",
        CursorFault::Ahead => "the cursor is ahead of the log",
        CursorFault::EpochChanged => "the log's history was replaced after the cursor was issued",
    })]
    Cursor {
        fault: CursorFault,
        earliest: Seq,
        head: Seq,
        /// The identity of the log's history.
        epoch: Epoch,
    },
    /// The session cannot open or continue: leave the shard to the newer session, or use the settings that the consumer was created with.
    #[error("{}", match .0 {
        ConsumerFault::TakenOver => "a newer session has taken over this shard",
        ConsumerFault::OtherFilter => "the consumer was created with another filter; omit the filter, or delete the consumer first",
        ConsumerFault::OtherShards(_) => "the consumer has another shard_count and open sessions; wait until they have ended",
    })]
    Consumer(ConsumerFault),
    /// The cursor belongs to another account.
    #[error("the cursor belongs to another account")]
    CursorForeign,
    /// Too many messages in this conversation: slow down.
    #[error("too many messages in this conversation within a minute")]
    Flood {
        /// Maximum number of messages per minute.
        limit: u32,
        /// How long to wait before a retry.
        retry_after: Duration,
    },
    /// The token exceeds its rate: slow down.
    #[error("this token may make at most {limit} calls a second")]
    RateLimited {
        /// Maximum number of calls per second, on average.
        limit: u32,
        /// How long to wait before a retry.
        retry_after: Duration,
    },
    /// A quota for callers without a token is exhausted: slow down, or send a token.
    #[error("{0}")]
    QuotaExceeded(Exceeded),
    /// The token has too many open streams: close some.
    #[error("this token already has {0} open streams, the maximum")]
    TooManyStreams(usize),
    /// Too much work is queued: retry later.
    #[error("too many requests are waiting; retry later")]
    Busy {
        /// How long to wait before a retry.
        retry_after: Duration,
    },
    /// A dependency of the call is unavailable: retry later, on this replica or another one.
    #[error("{reason}")]
    Unavailable {
        /// A description of what is unavailable.
        reason: &'static str,
        /// How long to wait before a retry.
        retry_after: Duration,
    },
    /// The state of the account or the resource does not permit the call: change the state first.
    #[error("{0}")]
    Precondition(&'static str),
    /// This version of the server does not implement the call.
    #[error("{0}")]
    Unimplemented(&'static str),
    /// A query failed for a reason that no other variant covers: report the failure.
    #[error("database error")]
    Database(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// An internal fault: report the failure.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl Error {
    /// Creates an error for one invalid field.
    pub fn invalid(field: impl Into<String>, rule: Rule, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, rule, description)])
    }

    /// Creates an error for an object that does not exist.
    pub fn not_found(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }
}

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Self {
        Self::QuotaExceeded(exceeded)
    }
}

fn join_descriptions(violations: &[FieldViolation]) -> String {
    violations
        .iter()
        .map(|v| format!("{} {}", v.field, v.description))
        .collect::<Vec<_>>()
        .join("; ")
}
