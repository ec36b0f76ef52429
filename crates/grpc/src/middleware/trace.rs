//! The span of a call: child of the caller's where one was sent, and where traces are off, the caller's context itself.

use opentelemetry::{Context, KeyValue, trace::SpanKind};
use parley_telemetry::{
    context::{self, Method, TRACEPARENT},
    names::{ERROR_TYPE, RPC_METHOD, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME},
    span,
};
use tonic::Code;

use crate::meter::{self, is_fault};

/// Begins the span of a call by its method; the context that belongs around the call.
pub fn begin(headers: &http::HeaderMap, method: &'static str) -> Context {
    let described = || {
        let attributes = vec![KeyValue::new(RPC_SYSTEM_NAME, "grpc"), KeyValue::new(RPC_METHOD, method)];
        (method.into(), attributes)
    };
    span::begin(&context::asked_for(headers), SpanKind::Server, Vec::new(), described).with_value(Method(method))
}

/// Ends the span of a call, with how it was answered.
pub fn end(around: &Context, code: Code) {
    let name = meter::code_name(code);
    span::end(around, is_fault(code), || {
        let mut attributes = vec![KeyValue::new(RPC_RESPONSE_STATUS_CODE, name)];
        if code != Code::Ok {
            attributes.push(KeyValue::new(ERROR_TYPE, name));
        }
        attributes
    });
}

/// What is stored with the events of a request: its own span, or the caller's where traces are off.
pub fn traceparent<R>(request: &tonic::Request<R>) -> String {
    let sent = || request.metadata().get(TRACEPARENT)?.to_str().ok();
    context::own().or_else(|| sent().and_then(context::read)).unwrap_or_default()
}
