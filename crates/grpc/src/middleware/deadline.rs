//! The layer that applies the deadline of a call.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, Request};
use parley_proto::policy::Method;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Timeout, timeout_at};
use tower::{Layer, Service};

use crate::status::deadline_exceeded;

use super::{
    call::AuthenticatedCall,
    response::{Response, refuse},
};

/// The maximum duration of an upload, which is enough for the largest file over a slow connection.
const MAX_UPLOAD: Duration = Duration::from_hours(1);

/// By how much a call ends before its requested deadline, unless a tenth of the requested timeout is less. tonic enforces the requested
/// deadline around this layer and responds with CANCELLED; ending the call earlier lets this layer respond with `DEADLINE_EXCEEDED`. See
/// [`record_arrival`].
const MARGIN: Duration = Duration::from_millis(10);

/// The arrival time of a call, stored in the request's extensions.
#[derive(Clone, Copy, Debug)]
struct ArrivedAt(Instant);

/// Records the arrival time of a call. Apply it as the outermost layer of a listener: tonic's timeout starts just after it. If the deadline
/// were measured from the first poll instead, tonic's timeout would expire first on a busy machine.
pub fn record_arrival<B>(mut request: Request<B>) -> Request<B> {
    request.extensions_mut().insert(ArrivedAt(Instant::now()));
    request
}

/// Returns the deadline of a call: its arrival time plus the requested timeout, which is capped at `max_duration` (or at the limit for
/// uploads).
pub fn deadline_of<B>(method: Option<&Method>, request: &Request<B>, max_duration: Duration) -> Instant {
    let most = if method.is_some_and(Method::is_upload) {
        MAX_UPLOAD
    } else {
        max_duration
    };
    // In-process calls from the REST gateway do not pass through a listener, so their arrival time is not recorded.
    let arrived = request.extensions().get().map_or_else(Instant::now, |ArrivedAt(at)| *at);
    arrived + bounded(request.headers(), most)
}

fn bounded(headers: &HeaderMap, most: Duration) -> Duration {
    timeout(headers).map_or(most, |requested| requested.saturating_sub(MARGIN.min(requested / 10)).min(most))
}

/// Parses the `grpc-timeout` header, which contains at most eight digits and a unit, as defined by the gRPC protocol.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = Some(digits).filter(|digits| digits.len() <= 8)?.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Ends a call at its deadline with `DEADLINE_EXCEEDED`. For a stream, the deadline applies only to opening it: the messages of the stream
/// follow the response headers.
#[derive(Clone, Copy, Debug)]
pub struct Deadline;

impl<S> Layer<S> for Deadline {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> DeadlineService<S> {
        DeadlineService { inner }
    }
}

#[derive(Clone, Debug)]
pub struct DeadlineService<S> {
    inner: S,
}

impl<S> Service<AuthenticatedCall> for DeadlineService<S>
where
    S: Service<AuthenticatedCall, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: AuthenticatedCall) -> Self::Future {
        DeadlineFuture {
            inner: timeout_at(call.deadline, self.inner.call(call)),
        }
    }
}

pin_project! {
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: Timeout<F>,
    }
}

impl<F, E> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.project().inner.poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Ok(refuse(deadline_exceeded()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn parses_timeouts_in_every_unit() {
        let read = |text| timeout(&headers(&[("grpc-timeout", text)]));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("150m"), Some(Duration::from_millis(150)));
        assert_eq!(read("123456789S"), None);
        assert_eq!(read("S"), None);
        assert_eq!(read("2x"), None);
    }

    #[test]
    fn shorter_deadline_applies() {
        let most = Duration::from_secs(30);
        let read = |text| bounded(&headers(&[("grpc-timeout", text)]), most);
        assert_eq!(read("1H"), most);
        assert_eq!(read("2S"), Duration::from_millis(1990), "before tonic's own");
        assert_eq!(read("50m"), Duration::from_millis(45), "by a tenth at most");
        assert_eq!(bounded(&HeaderMap::new(), most), most);
    }

    #[test]
    fn deadline_counts_from_arrival_and_is_longer_for_uploads() {
        let request = record_arrival(Request::new(()));
        let most = Duration::from_secs(30);
        let arrived = Instant::now();
        let upload = parley_proto::policy::METHODS.iter().find(|method| method.is_upload());
        assert!(deadline_of(None, &request, most) <= arrived + most);
        assert!(deadline_of(upload, &request, most) > arrived + MAX_UPLOAD - most);
    }
}
