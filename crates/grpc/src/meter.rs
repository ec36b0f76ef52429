//! Metrics about calls and streams.

use std::{
    sync::LazyLock,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use parley_eventlog::broadcaster::StreamKind;
use parley_proto::policy::Method;
use parley_telemetry::{
    exemplars,
    names::{self, CALL_SECONDS, meter},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The reasons for which a limit rejects a call. Each reason's counter starts at 0 rather than at its first increment: otherwise `rate()`
/// would miss the first rejection.
const REJECTION_REASONS: [&str; 6] = ["busy", "rate", "streams", "flood", "memory", "quota"];

/// The common reasons for which a stream ends. Their counters start at 0, because `rate()` would otherwise miss the first stream that ends
/// for a given reason.
const STREAM_END_REASONS: [&str; 3] = ["STREAM_ROTATED", "CURSOR_EXPIRED", "EPOCH_CHANGED"];

struct Instruments {
    durations: Histogram<f64>,
    rejected: Counter<u64>,
    ended: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = meter();
    meter
        .i64_observable_gauge(names::CALLS_ACTIVE)
        .with_unit("{call}")
        .with_description("Calls in flight, streams excluded")
        .with_callback(|gauge| gauge.observe(ACTIVE.load(Ordering::Relaxed), &[]))
        .build();
    let rejected = meter
        .u64_counter(names::CALLS_REJECTED)
        .with_unit("{call}")
        .with_description("Calls rejected because of a limit")
        .build();
    for reason in REJECTION_REASONS {
        rejected.add(0, &[KeyValue::new(names::REASON, reason)]);
    }
    let ended = meter
        .u64_counter(names::STREAMS_ENDED)
        .with_unit("{stream}")
        .with_description("Streams that ended, or were rejected when they were opened, by the reason reported to the client")
        .build();
    for kind in StreamKind::ALL {
        for reason in STREAM_END_REASONS {
            ended.add(0, &[KeyValue::new(names::KIND, kind.name()), KeyValue::new(names::REASON, reason)]);
        }
    }
    Instruments {
        durations: meter
            .f64_histogram(names::RPC_SERVER_CALL_DURATION)
            .with_unit("s")
            .with_description("Duration of calls, streams excluded")
            .with_boundaries(CALL_SECONDS.to_vec())
            .build(),
        rejected,
        ended,
    }
});

static ACTIVE: AtomicI64 = AtomicI64::new(0);

/// Counts a call as in flight until the guard is dropped.
#[derive(Debug)]
pub struct InFlightGuard(());

impl InFlightGuard {
    /// Counts one more call and returns the number of calls in flight, including this one.
    pub fn begin() -> (Self, i64) {
        (Self(()), ACTIVE.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the name of a method for metrics and traces. Paths that the contract does not define are reported as `_OTHER`: clients can send
/// any path, and each distinct path would create another time series.
pub fn method_name(method: Option<&'static Method>) -> &'static str {
    method.map_or("_OTHER", |method| method.path)
}

/// Records the duration and status of a completed call.
pub fn call_ended(method: &'static str, code: Code, took: Duration) {
    let mut labels = vec![
        KeyValue::new(names::RPC_SYSTEM_NAME, "grpc"),
        KeyValue::new(names::RPC_METHOD, method),
        KeyValue::new(names::RPC_RESPONSE_STATUS_CODE, code_name(code)),
    ];
    if code != Code::Ok {
        labels.push(KeyValue::new(names::ERROR_TYPE, code_name(code)));
    }
    INSTRUMENTS.durations.record(took.as_secs_f64(), &labels);
    exemplars::note("rpc_server_call_duration_seconds", &labels, &CALL_SECONDS, took.as_secs_f64());
}

/// Counts a call that was rejected by a limit.
pub fn rejected(reason: &'static str) {
    INSTRUMENTS.rejected.add(1, &[KeyValue::new(names::REASON, reason)]);
}

/// Counts a stream that has ended, by reason. Streams that were refused when they were opened are counted too.
pub fn ended(kind: StreamKind, status: &Status) {
    let reason = status
        .get_details_error_info()
        .map_or_else(|| code_name(status.code()).to_owned(), |info| info.reason);
    let labels = [KeyValue::new(names::KIND, kind.name()), KeyValue::new(names::REASON, reason)];
    INSTRUMENTS.ended.add(1, &labels);
}

/// Returns whether a status code is a server error in OpenTelemetry's gRPC conventions, which define the status of server spans.
pub fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown | Code::DeadlineExceeded | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss
    )
}

/// Returns the name of a status code as OpenTelemetry's conventions spell it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
