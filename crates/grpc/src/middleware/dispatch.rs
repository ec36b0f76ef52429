//! The innermost layer, which passes a call to its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use http::Request;
use tower::{Layer, Service};

use super::{
    call::{AuthenticatedCall, CallIdentity},
    response::Response,
};

/// Converts an [`AuthenticatedCall`] into the request that handlers receive, and stores the caller in its extensions.
///
/// Layers that have to wait clone their inner service. A route is a boxed service whose clone allocates, so this layer shares it in an
/// `Arc` and clones it once per call.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch;

impl<S> Layer<S> for Dispatch {
    type Service = DispatchService<S>;

    fn layer(&self, inner: S) -> DispatchService<S> {
        DispatchService { inner: Arc::new(inner) }
    }
}

#[derive(Debug)]
pub struct DispatchService<S> {
    inner: Arc<S>,
}

impl<S> Clone for DispatchService<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S> Service<AuthenticatedCall> for DispatchService<S>
where
    S: Service<Request<Body>, Response = Response> + Clone,
{
    type Response = Response;
    type Error = S::Error;
    type Future = S::Future;

    /// Always ready: the inner service is cloned for each call, and axum's routes wait for readiness when they are called.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: AuthenticatedCall) -> S::Future {
        let mut request = call.request;
        match call.identity {
            CallIdentity::Caller(identity) => {
                request.extensions_mut().insert(identity);
            }
            CallIdentity::Anonymous(payer) => {
                request.extensions_mut().insert(payer);
            }
        }
        S::clone(&self.inner).call(request)
    }
}
