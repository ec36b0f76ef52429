//! The layer that writes an audit event for each audited call.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parley_domain::audit::AuditLog;
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};

use super::{
    audit_event::AuditEvent,
    call::RpcCall,
    response::{Response, code},
};

/// Writes the audit event of a call when the call completes or is cancelled. If the method is not audited, the layer costs only one check.
#[derive(Clone, Debug)]
pub struct Audit {
    log: AuditLog,
}

impl Audit {
    /// Creates a layer that writes audit events to `log`.
    pub fn new(log: AuditLog) -> Self {
        Self { log }
    }
}

impl<S> Layer<S> for Audit {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> AuditService<S> {
        AuditService {
            inner,
            log: self.log.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct AuditService<S> {
    inner: S,
    log: AuditLog,
}

impl<S> Service<RpcCall> for AuditService<S>
where
    S: Service<RpcCall, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = AuditFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: RpcCall) -> Self::Future {
        call.audit = AuditEvent::of(call.method, &call.request).map(Arc::new);
        let pending = call.audit.clone().map(|event| PendingAudit {
            event,
            log: self.log.clone(),
            is_audited: false,
        });
        AuditFuture {
            inner: self.inner.call(call),
            pending,
        }
    }
}

pin_project! {
    /// The future of [`AuditService`]. Fields are dropped in declaration order: on cancellation the call is dropped first, then its event
    /// is written.
    pub struct AuditFuture<F> {
        #[pin]
        inner: F,
        pending: Option<PendingAudit>,
    }
}

impl<F, E> Future for AuditFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        if let (Some(pending), Ok(answer)) = (this.pending.take(), &answer) {
            pending.finish(code(answer));
        }
        Poll::Ready(answer)
    }
}

/// An audit event that is written exactly once: with the call's status, or as cancelled if the client disconnects and the event is dropped
/// first.
#[derive(Debug)]
struct PendingAudit {
    event: Arc<AuditEvent>,
    log: AuditLog,
    is_audited: bool,
}

impl PendingAudit {
    fn finish(mut self, code: Code) {
        self.is_audited = true;
        self.event.write(&self.log, code, "administrative call");
    }
}

impl Drop for PendingAudit {
    fn drop(&mut self) {
        if !self.is_audited {
            let message = "administrative call; the client disconnected before the response, so it might have been carried out";
            self.event.write(&self.log, Code::Cancelled, message);
        }
    }
}
