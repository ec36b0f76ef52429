//! The rate limit of tokens: [`RateLimit`] charges each call to its token, and [`RateLimitHeaders`] reports the remaining rate limit.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::{Either, Ready, ready as answer_with};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::status::to_status;

use super::{
    call::AuthenticatedCall,
    limits::{Limits, RateLimitState},
    response::{Response, refuse},
};

/// Charges a call to the rate limit of its token, and responds with `RESOURCE_EXHAUSTED` if the limit is exceeded. `Auth` charges calls
/// without a token to their address.
#[derive(Clone, Debug)]
pub struct RateLimit {
    limits: Arc<Limits>,
}

impl RateLimit {
    /// Creates a layer that charges calls to the rate limits in `limits`.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self { limits }
    }
}

impl<S> Layer<S> for RateLimit {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> RateLimitService<S> {
        RateLimitService {
            inner,
            limits: Arc::clone(&self.limits),
        }
    }
}

#[derive(Clone, Debug)]
pub struct RateLimitService<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> Service<AuthenticatedCall> for RateLimitService<S>
where
    S: Service<AuthenticatedCall, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: AuthenticatedCall) -> Self::Future {
        match call.identity.token().map(|token| self.limits.charge(token)).transpose() {
            Ok(state) => {
                call.rate_limit = state.flatten();
                Either::Left(self.inner.call(call))
            }
            Err(refused) => {
                let (error, state) = *refused;
                let mut answer = refuse(to_status(error));
                state.write_headers(answer.headers_mut());
                Either::Right(answer_with(Ok(answer)))
            }
        }
    }
}

/// Writes the token's remaining rate limit to the headers of every response from the layers below.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitHeaders;

impl<S> Layer<S> for RateLimitHeaders {
    type Service = RateLimitHeadersService<S>;

    fn layer(&self, inner: S) -> RateLimitHeadersService<S> {
        RateLimitHeadersService { inner }
    }
}

#[derive(Clone, Debug)]
pub struct RateLimitHeadersService<S> {
    inner: S,
}

impl<S> Service<AuthenticatedCall> for RateLimitHeadersService<S>
where
    S: Service<AuthenticatedCall, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = RateLimitHeadersFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: AuthenticatedCall) -> Self::Future {
        RateLimitHeadersFuture {
            state: call.rate_limit,
            inner: self.inner.call(call),
        }
    }
}

pin_project! {
    pub struct RateLimitHeadersFuture<F> {
        #[pin]
        inner: F,
        state: Option<RateLimitState>,
    }
}

impl<F, E> Future for RateLimitHeadersFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.inner.poll(cx));
        if let (Some(state), Ok(answer)) = (this.state, &mut answer) {
            state.write_headers(answer.headers_mut());
        }
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, convert::Infallible};

    use axum::body::Body;
    use futures_util::FutureExt as _;
    use http::Request;
    use parley_domain::auth::caller::{self, Caller, Principal};
    use parley_types::id::TokenId;
    use tokio::time::Instant;
    use tonic::Code;
    use tower::{ServiceBuilder, service_fn};

    use super::*;
    use crate::middleware::{
        call::{CallIdentity, RpcCall},
        identity::Identity,
        limits::LimitsConfig,
        policy::Policy,
        response::code,
    };

    fn call(path: &str) -> AuthenticatedCall {
        let caller = Caller {
            token: TokenId(1),
            principal: Principal::Service { name: String::new() },
            read_only: false,
            accounts: HashMap::new(),
            limits: caller::Limits::default(),
        };
        let call = RpcCall::new(Request::builder().uri(path).body(Body::empty()).unwrap());
        AuthenticatedCall {
            request: call.request,
            method: call.method,
            identity: CallIdentity::Caller(Identity {
                caller: Arc::new(caller),
                secret: "".into(),
                audit: None,
            }),
            deadline: Instant::now(),
            rate_limit: None,
        }
    }

    /// In the order of the stack: a call that the policy rejects is charged, and its response does not report the limit.
    #[test]
    fn charges_every_call_and_reports_only_below_the_policy() {
        let limits = Arc::new(Limits::new(LimitsConfig {
            calls_per_second: 1,
            burst: 2,
            calls: 0,
            streams: 0,
        }));
        let mut service = ServiceBuilder::new()
            .layer(RateLimit::new(limits))
            .layer(Policy)
            .layer(RateLimitHeaders)
            .service(service_fn(async |_: AuthenticatedCall| Ok::<_, Infallible>(Response::default())));
        let mut answer = |path: &str| {
            let answer = service.call(call(path)).now_or_never().unwrap().unwrap();
            let remaining = answer.headers().get("ratelimit-remaining");
            (code(&answer), remaining.map(|value| value.to_str().unwrap().to_owned()))
        };
        let (allowed, for_operators) = ("/parley.v1.LabelsService/ListLabels", "/parley.v1.AccountsService/CreateAccount");
        assert_eq!(answer(allowed), (Code::Ok, Some("1".to_owned())));
        assert_eq!(answer(for_operators), (Code::PermissionDenied, None));
        assert_eq!(answer(allowed), (Code::ResourceExhausted, Some("0".to_owned())));
    }
}
