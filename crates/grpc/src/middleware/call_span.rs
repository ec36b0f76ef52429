//! The server span of a call, which is a child of the span in the caller's `traceparent`. If tracing is disabled, the call runs in the
//! caller's trace context instead.

use opentelemetry::{Context, KeyValue, trace::SpanKind};
use parley_telemetry::{
    context::{self, Method, TRACEPARENT},
    names::{ERROR_TYPE, RPC_METHOD, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME},
    span,
};
use tonic::Code;

use crate::meter::{self, is_server_error};

/// Starts the span of a call, and returns the context in which the call must run.
pub fn begin(headers: &http::HeaderMap, method: &'static str) -> Context {
    let described = || {
        let attributes = vec![KeyValue::new(RPC_SYSTEM_NAME, "grpc"), KeyValue::new(RPC_METHOD, method)];
        (method.into(), attributes)
    };
    span::begin(&context::asked_for(headers), SpanKind::Server, Vec::new(), described).with_value(Method(method))
}

/// Ends the span of a call with its status code.
pub fn end(context: &Context, code: Code) {
    let name = meter::code_name(code);
    span::end(context, is_server_error(code), || {
        let mut attributes = vec![KeyValue::new(RPC_RESPONSE_STATUS_CODE, name)];
        if code != Code::Ok {
            attributes.push(KeyValue::new(ERROR_TYPE, name));
        }
        attributes
    });
}

/// Returns the trace context that is stored with the events of a request: the context of the server span, or the caller's context if
/// tracing is disabled.
pub fn traceparent<R>(request: &tonic::Request<R>) -> String {
    let sent = || request.metadata().get(TRACEPARENT)?.to_str().ok();
    context::own().or_else(|| sent().and_then(context::read)).unwrap_or_default()
}
