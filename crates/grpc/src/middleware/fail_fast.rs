//! The layer that fails calls immediately during a database outage.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use parley_fault::Protection;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::status::database_unavailable;

use super::{
    call::RpcCall,
    response::{Response, refuse},
};

/// Responds with UNAVAILABLE while the database is known to be unavailable, so that calls do not wait for a connection until their
/// deadline. Calls in progress when an outage begins are dropped and receive the same response.
#[derive(Clone, Debug)]
pub struct FailFast<O> {
    outage: O,
}

impl<O, W> FailFast<O>
where
    O: Fn() -> W,
    W: Future<Output = ()>,
{
    /// Creates the layer. `outage` returns a future that resolves when an outage begins, or immediately during one. It is a generic
    /// function, not one that returns a boxed future, because it runs on every call.
    pub fn new(outage: O) -> Self {
        Self { outage }
    }
}

impl<S, O: Clone> Layer<S> for FailFast<O> {
    type Service = FailFastService<S, O>;

    fn layer(&self, inner: S) -> FailFastService<S, O> {
        FailFastService {
            inner,
            outage: self.outage.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct FailFastService<S, O> {
    inner: S,
    outage: O,
}

impl<S, O, W> Service<RpcCall> for FailFastService<S, O>
where
    S: Service<RpcCall, Response = Response>,
    O: Fn() -> W,
    W: Future<Output = ()>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = FailFastFuture<S::Future, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: RpcCall) -> Self::Future {
        FailFastFuture {
            inner: Some(self.inner.call(call)),
            outage: parley_fault::is_on(Protection::Outage).then(|| (self.outage)()),
        }
    }
}

pin_project! {
    /// The future of [`FailFastService`].
    pub struct FailFastFuture<F, W> {
        // The call; `None` after an outage has ended it.
        #[pin]
        inner: Option<F>,
        #[pin]
        outage: Option<W>,
    }
}

impl<F, W, E> Future for FailFastFuture<F, W>
where
    F: Future<Output = Result<Response, E>>,
    W: Future<Output = ()>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Check the outage first, so that a call that arrives during an outage does no work.
        if this.outage.as_mut().as_pin_mut().is_some_and(|outage| outage.poll(cx).is_ready()) {
            this.inner.set(None);
            this.outage.set(None);
            return Poll::Ready(Ok(refuse(database_unavailable())));
        }
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use axum::body::Body;
    use futures_util::FutureExt as _;
    use http::Request;
    use tokio_util::sync::CancellationToken;
    use tonic::Code;
    use tower::service_fn;

    use super::*;
    use crate::middleware::response::code;

    #[test]
    fn waiting_calls_fail_when_an_outage_begins() {
        let outage = CancellationToken::new();
        let is_polled = Arc::new(AtomicBool::new(false));
        let signal = outage.clone();
        let layer = FailFast::new(move || signal.clone().cancelled_owned());
        let polled = Arc::clone(&is_polled);
        let mut service = layer.layer(service_fn(move |_: RpcCall| {
            let polled = Arc::clone(&polled);
            async move {
                polled.store(true, Ordering::Relaxed);
                std::future::pending::<Result<Response, Infallible>>().await
            }
        }));
        let call = || RpcCall::new(Request::new(Body::empty()));
        let mut waiting = pin!(service.call(call()));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(is_polled.swap(false, Ordering::Relaxed));
        outage.cancel();
        for mut ended in [waiting, pin!(service.call(call()))] {
            let answer = ended.as_mut().now_or_never().unwrap().unwrap();
            assert_eq!(code(&answer), Code::Unavailable);
            assert!(!is_polled.load(Ordering::Relaxed), "nothing is done during an outage");
        }
    }
}
