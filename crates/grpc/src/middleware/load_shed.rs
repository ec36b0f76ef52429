//! The layer that rejects calls under overload.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use futures_util::future::{Either, Ready, ready as answer_with};
use http::Request;
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};

use crate::{
    meter::{self, InFlightGuard},
    status::busy,
};

use super::{call::RpcCall, limits::Limits, response::Response};

/// Limits the total number of calls in flight, and rejects further calls with a prebuilt `RESOURCE_EXHAUSTED` response. Streams are not
/// counted here, because they have separate limits. Also converts the request into an [`RpcCall`], because this is the first layer that
/// needs the method's policy.
#[derive(Clone, Debug)]
pub struct LoadShed {
    limits: Arc<Limits>,
}

impl LoadShed {
    /// Creates a layer that enforces the in-flight call limit configured in `limits`.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self { limits }
    }
}

impl<S> Layer<S> for LoadShed {
    type Service = LoadShedService<S>;

    fn layer(&self, inner: S) -> LoadShedService<S> {
        LoadShedService {
            inner,
            limits: Arc::clone(&self.limits),
        }
    }
}

#[derive(Clone, Debug)]
pub struct LoadShedService<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> Service<Request<Body>> for LoadShedService<S>
where
    S: Service<RpcCall, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = LoadShedFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = RpcCall::new(request);
        if call.is_streaming() {
            return LoadShedFuture {
                inner: Either::Left(self.inner.call(call)),
                in_flight: None,
            };
        }
        let Some(in_flight) = self.limits.begin_call() else {
            // Rejected calls are neither traced nor audited: the heavier the overload, the cheaper a rejection must be.
            meter::call_ended(meter::method_name(call.method), Code::ResourceExhausted, Duration::ZERO);
            return LoadShedFuture {
                inner: Either::Right(answer_with(Ok(busy().map(Body::new)))),
                in_flight: None,
            };
        };
        LoadShedFuture {
            inner: Either::Left(self.inner.call(call)),
            in_flight: Some(in_flight),
        }
    }
}

pin_project! {
    /// The future of [`LoadShedService`]. A call is counted until its response is ready, or until the client disconnects and the future is
    /// dropped.
    pub struct LoadShedFuture<F, E> {
        #[pin]
        inner: Either<F, Ready<Result<Response, E>>>,
        in_flight: Option<InFlightGuard>,
    }
}

impl<F, E> Future for LoadShedFuture<F, E>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        // Stop counting the call here: sending the response may take long, but the call needs no more processing.
        drop(this.in_flight.take());
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::FutureExt as _;
    use tower::service_fn;

    use super::*;
    use crate::middleware::{limits::LimitsConfig, response::code};

    /// The number of calls in flight is global to the process, and other tests add to it, so the test uses a limit that any single call
    /// exceeds.
    #[test]
    fn sheds_calls_beyond_the_limit_and_never_streams() {
        let limits = Arc::new(Limits::new(LimitsConfig {
            calls_per_second: 0,
            burst: 0,
            calls: -1,
            streams: 0,
        }));
        let mut service = LoadShed::new(limits).layer(service_fn(async |_: RpcCall| Ok::<_, Infallible>(Response::default())));
        let mut answered_with = |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            code(&service.call(request).now_or_never().unwrap().unwrap())
        };
        assert_eq!(answered_with("/parley.v1.LabelsService/ListLabels"), Code::ResourceExhausted);
        assert_eq!(answered_with("/parley.v1.EventsService/Subscribe"), Code::Ok);
    }
}
