//! Why something was refused, by what the caller can do about it.
//!
//! Knows neither gRPC nor HTTP: `parley_grpc::status` alone makes a `Status` of it, and `parley_rest::errors` a JSON body of that.

#[cfg(feature = "sea-orm")]
mod database;

use std::{sync::Arc, time::Duration};

use crate::id::{AccountId, Epoch, Seq};
#[cfg(feature = "sea-orm")]
pub use database::{NO_ROOM, is_out_of_space, is_unique_violation};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What broke in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It must be there.
    Required,
    /// It has more characters than this.
    TooLong(usize),
    /// It has more entries than this.
    TooMany(usize),
    /// It has the wrong form.
    Invalid,
    /// Another thing has this value already.
    Taken,
    /// It lies outside of what is allowed; the number is the nearer bound.
    OutOfRange(i64),
    /// It names something that does not exist.
    Unknown,
    /// A number that a double cannot hold exactly.
    NotExact,
}

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field as the request spells it, dotted.
    pub field: String,
    /// What broke.
    pub rule: Rule,
    /// What would be right, in plain words.
    pub description: String,
}

impl Violation {
    /// A violation of `rule` by `field`.
    pub fn new(field: impl Into<String>, rule: Rule, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            rule,
            description: description.into(),
        }
    }
}

/// Why a session of a durable consumer cannot open or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerFault {
    /// A newer session has its shard.
    TakenOver,
    /// The consumer was made with another filter.
    OtherFilter,
    /// The consumer has this many shards, and sessions that are alive.
    OtherShards(i64),
}

/// How a cursor and the log disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorFault {
    /// What follows the cursor is no longer kept.
    Expired,
    /// The cursor is beyond the newest event.
    Ahead,
    /// The cursor is of an earlier history.
    EpochChanged,
}

/// A quota that is used up, and when there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Whose quota: `address`, `inbox`, `session` or `account`.
    pub scope: &'static str,
    /// Of what, such as `new sessions a minute`.
    pub quota: &'static str,
    /// How many.
    pub limit: u64,
    /// When to try again.
    pub retry_after: Duration,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scope, quota, limit, .. } = self;
        write!(f, "this {scope} may have at most {limit} {quota}")
    }
}

/// An error, by what the caller can do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Correct these fields.
    #[error("{}", sentence(.0))]
    Invalid(Vec<Violation>),
    /// Use the existing thing, or other values.
    #[error("{kind} exists already: {}", sentence(.violations))]
    Taken {
        /// The fields that must be unique.
        violations: Vec<Violation>,
        /// What kind of thing has the values.
        kind: &'static str,
        /// Which one has the first of them.
        existing_id: Option<i64>,
    },
    /// Look elsewhere: there is no such thing in this account.
    #[error("{kind} {id} not found")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// Show a token.
    #[error("no token came with the call")]
    TokenMissing,
    /// Show another token.
    #[error("the token is unknown, expired or revoked")]
    TokenInvalid,
    /// Ask for membership of the account.
    #[error("the token is not good for account {0}")]
    NotMember(AccountId),
    /// Ask someone who may.
    #[error("{0}")]
    Denied(&'static str),
    /// Use another kind of token: this one is good for a few other calls.
    #[error("{0}")]
    WrongToken(&'static str),
    /// Connect the bot to an inbox of the account.
    #[error("the bot is connected to no inbox of account {0}")]
    NotConnected(AccountId),
    /// Sign the identifier by the channel's key.
    #[error("{0}")]
    Unsigned(&'static str),
    /// Ask the operator: the account is closed.
    #[error("account {0} is suspended")]
    Suspended(AccountId),
    /// Use a fresh `request_id` for another request.
    #[error("request_id {0} was used by another request")]
    KeyReused(uuid::Uuid),
    /// Start again from where the log can be read.
    #[error("{}", match fault {
        CursorFault::Expired => "what follows the cursor is no longer kept",
        CursorFault::Ahead => "the cursor is ahead of the log",
        CursorFault::EpochChanged => "the log's history was replaced since the cursor was given",
    })]
    Cursor {
        /// How they disagree.
        fault: CursorFault,
        /// The oldest event that is kept.
        earliest: Seq,
        /// The newest event.
        head: Seq,
        /// The identity of the log's history.
        epoch: Epoch,
    },
    /// Leave the shard to the newer session, or ask as the consumer was made.
    #[error("{}", match .0 {
        ConsumerFault::TakenOver => "a newer session has taken over this shard",
        ConsumerFault::OtherFilter => "the consumer was made with another filter; leave it out, or delete the consumer first",
        ConsumerFault::OtherShards(_) => "the consumer is split otherwise, and sessions of it are alive; let them end first",
    })]
    Consumer(ConsumerFault),
    /// Use a cursor of this account.
    #[error("the cursor belongs to another account")]
    CursorForeign,
    /// Slow down in this conversation.
    #[error("too many messages in this conversation within a minute")]
    Flood {
        /// How many a minute are taken.
        limit: u32,
        /// When there is room again.
        retry_after: Duration,
    },
    /// Ask less often.
    #[error("this token makes more than {limit} calls a second")]
    TooFast {
        /// How many a second are taken on average.
        limit: u32,
        /// When there is room again.
        retry_after: Duration,
    },
    /// Ask less often, or show a token: a quota of callers without one is used up.
    #[error("{0}")]
    QuotaExceeded(Exceeded),
    /// Close some of the token's streams.
    #[error("this token has {0} streams open, and may have no more")]
    TooManyStreams(usize),
    /// Try again: too much is waiting.
    #[error("too much is waiting")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// Try again, here or at another replica.
    #[error("{reason}")]
    Unavailable {
        /// What is missing.
        reason: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// Do something else first.
    #[error("{0}")]
    Precondition(&'static str),
    /// Nothing: this version does not serve the call.
    #[error("{0}")]
    Unimplemented(&'static str),
    /// Report it.
    #[error("the database failed")]
    Database(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Report it.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl Error {
    /// One bad field.
    pub fn invalid(field: impl Into<String>, rule: Rule, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, rule, description)])
    }

    /// A thing that is not there.
    pub fn not_found(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }
}

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Self {
        Self::QuotaExceeded(exceeded)
    }
}

fn sentence(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(|v| format!("{} {}", v.field, v.description))
        .collect::<Vec<_>>()
        .join("; ")
}
