//! The errors that end a client. None of them can be fixed by retrying.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The reason why a client stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client's position is lost: the log does not continue from it. The client has to start again, from a snapshot or at the oldest
    /// event.
    #[error("{0}")]
    LostPosition(LostPosition),
    /// The server rejected the request, and would reject it again.
    #[error("the server rejected the request: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    /// A newer session owns the consumer's shard.
    #[error("a newer session has taken over this shard of the consumer")]
    TakenOver,
    /// An event is missing, repeated or out of order. Callers must never ignore this error.
    #[error("broken event chain: event {seq} has prev_seq {prev_seq}, but the last event received is {last_seq}")]
    ChainBroken {
        /// The seq of the event that violates the chain.
        seq: u64,
        /// The `prev_seq` of the event that violates the chain.
        prev_seq: u64,
        /// The seq of the last event received before the violation.
        last_seq: u64,
    },
    /// A bookmark contradicts the events that the client received.
    #[error("invalid bookmark: it confirmed all events up to seq {bookmarked}, but event {seq} contradicts it")]
    BookmarkWrong {
        /// The seq up to which the bookmark claimed that everything was sent.
        bookmarked: u64,
        /// The seq of the event that contradicts the bookmark.
        seq: u64,
    },
}

/// The client cannot resume at its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .reason {
    LostReason::Expired => format!(
        "the events after this cursor were trimmed; the log now contains seq {earliest_seq} to {head_seq}; start again with --from earliest"
    ),
    LostReason::AheadOfLog => format!(
        "this cursor is ahead of the log, which ends at seq {head_seq}: it belongs to another installation, or the newest events were lost"
    ),
    LostReason::EpochChanged => {
        "the log's history was replaced, for example by a restore, and this cursor belongs to the old one; start again with --from earliest".to_owned()
    }
})]
pub struct LostPosition {
    pub reason: LostReason,
    pub earliest_seq: u64,
    pub head_seq: u64,
    /// The identifier of the log's current history. It changes when the history is replaced, for example by a restore.
    pub epoch: String,
}

/// Why a client cannot resume at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// The events after the cursor were trimmed.
    Expired,
    /// The cursor is ahead of the log.
    AheadOfLog,
    /// The history of the log was replaced, for example by a restore.
    EpochChanged,
}

/// Returns whether the same request may succeed later. A broken connection is reported with one of several codes, but its status never
/// contains an `ErrorInfo`, unlike errors from the service.
pub(super) fn is_retryable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.get_details_error_info().is_none(),
        _ => false,
    }
}

/// Converts a status that is not retryable to the error that ends the client.
pub(super) fn refusal(status: &Status) -> Error {
    let Some(info) = status.get_details_error_info() else {
        return Error::Refused(Box::new(status.clone()));
    };
    let reason = match info.reason.as_str() {
        "CURSOR_EXPIRED" => LostReason::Expired,
        "CURSOR_AHEAD_OF_LOG" => LostReason::AheadOfLog,
        "EPOCH_CHANGED" => LostReason::EpochChanged,
        "CONSUMER_TAKEN_OVER" => return Error::TakenOver,
        _ => return Error::Refused(Box::new(status.clone())),
    };
    let metadata = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
    Error::LostPosition(LostPosition {
        reason,
        earliest_seq: metadata("earliest_seq").parse().unwrap_or_default(),
        head_seq: metadata("head_seq").parse().unwrap_or_default(),
        epoch: metadata("epoch"),
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn lost_cursor_is_final_and_broken_connection_is_retryable() {
        let metadata = [
            ("earliest_seq".to_owned(), "1000".to_owned()),
            ("head_seq".to_owned(), "2000".to_owned()),
        ];
        let details = ErrorDetails::with_error_info("CURSOR_EXPIRED", "parley", metadata);
        let status = Status::with_error_details(Code::OutOfRange, "expired", details);
        assert!(!is_retryable(&status));
        assert!(refusal(&status).to_string().contains("now contains seq 1000 to 2000"));
        assert!(is_retryable(&Status::unknown("h2 protocol error")));
        let details = ErrorDetails::with_error_info("INTERNAL", "parley", []);
        assert!(!is_retryable(&Status::with_error_details(Code::Internal, "a fault", details)));
        assert!(!is_retryable(&Status::unauthenticated("unknown token")));
        let details = ErrorDetails::with_error_info("CONSUMER_TAKEN_OVER", "parley", []);
        let status = Status::with_error_details(Code::Aborted, "taken", details);
        assert!(!is_retryable(&status));
        assert!(matches!(refusal(&status), Error::TakenOver));
    }
}
