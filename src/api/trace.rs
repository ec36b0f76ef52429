//! The span of a call: child of the caller's where one was sent, and where traces are off, the caller's context itself.

use opentelemetry::Context;
use tonic::Code;

use super::meter::{self, is_fault};
use crate::telemetry::{
    context::{self, TRACEPARENT},
    names::{ERROR_TYPE, OTEL_KIND, OTEL_NAME, OTEL_STATUS_CODE, RPC_METHOD, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME},
};

/// The span of a call by its method, and the context around it.
pub fn begin(headers: &http::HeaderMap, method: &str) -> (tracing::Span, Context) {
    let span = tracing::info_span!(
        "call",
        { OTEL_KIND } = "server",
        { OTEL_NAME } = method,
        { RPC_SYSTEM_NAME } = "grpc",
        { RPC_METHOD } = method,
        { RPC_RESPONSE_STATUS_CODE } = tracing::field::Empty,
        { ERROR_TYPE } = tracing::field::Empty,
        { OTEL_STATUS_CODE } = tracing::field::Empty,
    );
    let around = context::take_up(&span, headers);
    (span, around)
}

/// Notes on the span of a call how it was answered.
pub fn end(span: &tracing::Span, code: Code) {
    let name = meter::code_name(code);
    span.record(RPC_RESPONSE_STATUS_CODE, name);
    if code != Code::Ok {
        span.record(ERROR_TYPE, name);
    }
    if is_fault(code) {
        span.record(OTEL_STATUS_CODE, "ERROR");
    }
}

/// What is stored with the events of a request: its own span, or the caller's where traces are off.
pub fn traceparent<R>(request: &tonic::Request<R>) -> String {
    let sent = || request.metadata().get(TRACEPARENT)?.to_str().ok();
    context::own().or_else(|| sent().and_then(context::read)).unwrap_or_default()
}
