//! What is measured of calls and streams.

use std::{
    sync::LazyLock,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use parley_eventlog::hub::Kind;
use parley_proto::policy::Method;
use parley_telemetry::{
    exemplars,
    names::{self, CALL_SECONDS, meter},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why limits refuse: all are told from the start, so that a rate is known when the first one comes.
const REJECTED: [&str; 6] = ["busy", "rate", "streams", "flood", "memory", "quota"];

/// Why streams are reset: these, too, are told from the start.
const ENDS: [&str; 3] = ["STREAM_ROTATED", "CURSOR_EXPIRED", "EPOCH_CHANGED"];

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
        .with_description("Calls in work, streams aside")
        .with_callback(|gauge| gauge.observe(ACTIVE.load(Ordering::Relaxed), &[]))
        .build();
    let rejected = meter
        .u64_counter(names::CALLS_REJECTED)
        .with_unit("{call}")
        .with_description("Calls that were refused because of a limit")
        .build();
    for reason in REJECTED {
        rejected.add(0, &[KeyValue::new(names::REASON, reason)]);
    }
    let ended = meter
        .u64_counter(names::STREAMS_ENDED)
        .with_unit("{stream}")
        .with_description("Streams that ended, or were refused when they were opened, by the reason that their clients were told")
        .build();
    for kind in Kind::ALL {
        for reason in ENDS {
            ended.add(0, &[KeyValue::new(names::KIND, kind.name()), KeyValue::new(names::REASON, reason)]);
        }
    }
    Instruments {
        durations: meter
            .f64_histogram(names::RPC_SERVER_CALL_DURATION)
            .with_unit("s")
            .with_description("How long calls took, streams aside")
            .with_boundaries(CALL_SECONDS.to_vec())
            .build(),
        rejected,
        ended,
    }
});

static ACTIVE: AtomicI64 = AtomicI64::new(0);

/// Counts a call in flight while this lives.
#[derive(Debug)]
pub struct InFlightGuard(());

impl InFlightGuard {
    /// Counts one more, and returns how many there are now.
    pub fn begin() -> (Self, i64) {
        (Self(()), ACTIVE.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The name of a method in metrics and traces. Anybody can make paths up, so those that the contract does not name are counted together.
pub fn method_name(method: Option<&'static Method>) -> &'static str {
    method.map_or("_OTHER", |method| method.path)
}

/// Records the duration and status of a call that has ended.
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

/// Notes a call that a limit refused.
pub fn rejected(reason: &'static str) {
    INSTRUMENTS.rejected.add(1, &[KeyValue::new(names::REASON, reason)]);
}

/// Notes how a stream ended, or why it did not begin.
pub fn ended(kind: Kind, status: &Status) {
    let reason = status
        .get_details_error_info()
        .map_or_else(|| code_name(status.code()).to_owned(), |info| info.reason);
    let labels = [KeyValue::new(names::KIND, kind.name()), KeyValue::new(names::REASON, reason)];
    INSTRUMENTS.ended.add(1, &labels);
}

/// Whether a code says that the server is at fault, and not its caller, by the conventions for gRPC.
pub fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown | Code::DeadlineExceeded | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss
    )
}

/// A code as the conventions spell it.
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
