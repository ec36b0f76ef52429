//! The layer that traces and measures calls.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::meter;

use super::{
    call::RpcCall,
    call_record::CallRecord,
    call_span,
    response::{Response, code},
};

/// Starts the span of a call and records how it ends: span, duration and one debug line. The layers below are polled within the call's
/// trace context, so their log lines carry the method and the trace id. Spans and metrics share one layer because both are written from the
/// same measurement, including when the call is cancelled.
#[derive(Clone, Copy, Debug)]
pub struct Trace;

impl<S> Layer<S> for Trace {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService { inner }
    }
}

#[derive(Clone, Debug)]
pub struct TraceService<S> {
    inner: S,
}

impl<S> Service<RpcCall> for TraceService<S>
where
    S: Service<RpcCall, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: RpcCall) -> Self::Future {
        let name = meter::method_name(call.method);
        let context = call_span::begin(call.request.headers(), name);
        let record = CallRecord::begin(name, call.is_streaming(), context);
        TraceFuture {
            inner: self.inner.call(call),
            record: Some(record),
        }
    }
}

pin_project! {
    /// The future of [`TraceService`]. Fields are dropped in declaration order: if the client disconnects, the call is dropped first, and
    /// dropping `record` then records it as cancelled.
    pub struct TraceFuture<F> {
        #[pin]
        inner: F,
        record: Option<CallRecord>,
    }
}

impl<F, E> Future for TraceFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _attached = this.record.as_ref().map(|record| record.context().clone().attach());
        let answer = ready!(this.inner.poll(cx));
        if let (Some(record), Ok(answer)) = (this.record.take(), &answer) {
            record.finish(code(answer));
        }
        Poll::Ready(answer)
    }
}
