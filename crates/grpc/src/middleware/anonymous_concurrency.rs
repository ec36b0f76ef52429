//! The layer that limits concurrent calls without a token.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{BoxFuture, Either};
use parley_proto::policy::Method;
use tower::{Layer, Service};

use super::{
    authenticator::Authenticator,
    call::{AuthenticatedCall, CallIdentity},
    response::Response,
};

/// Holds a processing slot while a call is handled, so that one address cannot occupy all workers. Only calls from the REST gateway wait
/// here, because their requests have already been read completely; a call from the network instead acquires its slot when its message is
/// read. All other calls pass through without an allocation.
#[derive(Clone, Debug)]
pub struct AnonymousConcurrency {
    authenticator: Arc<Authenticator>,
}

impl AnonymousConcurrency {
    /// Creates a layer that acquires processing slots from the limits that `authenticator` enforces.
    pub fn new(authenticator: Arc<Authenticator>) -> Self {
        Self { authenticator }
    }
}

impl<S> Layer<S> for AnonymousConcurrency {
    type Service = AnonymousConcurrencyService<S>;

    fn layer(&self, inner: S) -> AnonymousConcurrencyService<S> {
        AnonymousConcurrencyService {
            inner,
            authenticator: Arc::clone(&self.authenticator),
        }
    }
}

#[derive(Clone, Debug)]
pub struct AnonymousConcurrencyService<S> {
    inner: S,
    authenticator: Arc<Authenticator>,
}

impl<S> Service<AuthenticatedCall> for AnonymousConcurrencyService<S>
where
    S: Service<AuthenticatedCall, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: AuthenticatedCall) -> Self::Future {
        let payer = match &call.identity {
            CallIdentity::Anonymous(payer) if call.method.is_some_and(Method::takes_turn) => payer,
            _ => return Either::Left(self.inner.call(call)),
        };
        let Some(address) = Authenticator::turn_address(payer, call.request.extensions()) else {
            return Either::Left(self.inner.call(call));
        };
        // As in `Auth`, call the service that was polled for readiness, not its clone.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let authenticator = Arc::clone(&self.authenticator);
        Either::Right(Box::pin(async move {
            let _slot = authenticator.processing_slot(address).await;
            inner.call(call).await
        }))
    }
}
