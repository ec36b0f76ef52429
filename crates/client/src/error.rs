//! Why a client cannot go on: only what trying again would not mend.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The position is lost: what the client holds is not the beginning of what the log holds. It has to start again, with a snapshot or
    /// the oldest event.
    #[error("{0}")]
    Lost(Lost),
    /// The server refuses, and would again.
    #[error("the server refused: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    /// Another session has the consumer's shard.
    #[error("a newer session has taken over this shard of the consumer")]
    TakenOver,
    /// An event is missing, doubled or out of order: never to be passed over in silence.
    #[error("THE CHAIN IS BROKEN: event {seq} says that {prev_seq} came before it, but the last one seen is {last_seq}")]
    ChainBroken {
        /// The seq of the event.
        seq: u64,
        /// What the event says came before it.
        prev_seq: u64,
        /// What did come before it.
        last_seq: u64,
    },
    /// A bookmark promised what is not so.
    #[error("A BOOKMARK LIES: it promised everything up to {promised}, but {seq} shows otherwise")]
    BookmarkLied {
        /// Up to where everything was promised to have been sent.
        promised: u64,
        /// The event that shows otherwise.
        seq: u64,
    },
}

/// A position that cannot be continued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .reason {
    LostReason::Expired => format!(
        "what follows this cursor is no longer kept; the log now holds {earliest_seq} to {head_seq}. Start again with --from earliest"
    ),
    LostReason::AheadOfLog => format!(
        "this cursor is ahead of the log, which ends at {head_seq}: it comes from elsewhere, or the log lost its end"
    ),
    LostReason::EpochChanged => {
        "the log's history was replaced (a restore): this cursor is of the old one. Start again with --from earliest".to_owned()
    }
})]
pub struct Lost {
    /// How cursor and log disagree.
    pub reason: LostReason,
    /// The oldest event that is kept.
    pub earliest_seq: u64,
    /// The newest event.
    pub head_seq: u64,
    /// The identity of the log's history.
    pub epoch: String,
}

/// How a cursor and the log disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// What follows it is no longer kept.
    Expired,
    /// The log ends before it.
    AheadOfLog,
    /// The log has another history now.
    EpochChanged,
}

/// Whether the same request may succeed later. What a connection that broke leaves behind has one of several codes, but never an `ErrorInfo`.
pub(super) fn may_resume(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.get_details_error_info().is_none(),
        _ => false,
    }
}

/// What a status means that cannot be resumed from.
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
    let told = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
    Error::Lost(Lost {
        reason,
        earliest_seq: told("earliest_seq").parse().unwrap_or_default(),
        head_seq: told("head_seq").parse().unwrap_or_default(),
        epoch: told("epoch"),
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_lost_cursor_is_told_in_plain_words_and_a_broken_connection_is_not_final() {
        let metadata = [
            ("earliest_seq".to_owned(), "1000".to_owned()),
            ("head_seq".to_owned(), "2000".to_owned()),
        ];
        let details = ErrorDetails::with_error_info("CURSOR_EXPIRED", "parley", metadata);
        let status = Status::with_error_details(Code::OutOfRange, "expired", details);
        assert!(!may_resume(&status));
        assert!(refusal(&status).to_string().contains("now holds 1000 to 2000"));
        assert!(may_resume(&Status::unknown("h2 protocol error")));
        let details = ErrorDetails::with_error_info("INTERNAL", "parley", []);
        assert!(!may_resume(&Status::with_error_details(Code::Internal, "a fault", details)));
        assert!(!may_resume(&Status::unauthenticated("unknown token")));
        let details = ErrorDetails::with_error_info("CONSUMER_TAKEN_OVER", "parley", []);
        let status = Status::with_error_details(Code::Aborted, "taken", details);
        assert!(!may_resume(&status));
        assert!(matches!(refusal(&status), Error::TakenOver));
    }
}
