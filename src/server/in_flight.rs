//! Counts the requests in flight on each connection. A request is in flight from its head until the HTTP server has written the last chunk
//! of the response.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use parley_fault::Protection;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{connection_closer::ConnectionCloser, draining::Activity};

/// Information about the connection, stored as an extension of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The remote address; behind proxies, the address of the last proxy.
    pub from: std::net::SocketAddr,
    /// Counters of the activity on the connection.
    pub activity: Arc<Activity>,
    /// Handle that closes the connection.
    pub closer: ConnectionCloser,
}

/// Counts requests that have a [`Peer`], and adds axum's [`ConnectInfo`] and the connection's [`ConnectionCloser`] to their extensions.
#[derive(Clone, Copy, Debug)]
pub struct CountRequests;

impl<S> Layer<S> for CountRequests {
    type Service = CountedRequests<S>;

    fn layer(&self, inner: S) -> CountedRequests<S> {
        CountedRequests { inner }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct CountedRequests<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for CountedRequests<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    B: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = request.extensions_mut().remove::<Peer>();
        let in_flight = peer.map(|Peer { from, activity, closer }| {
            request.extensions_mut().insert(ConnectInfo(from));
            request.extensions_mut().insert(closer);
            InFlight::begin(activity, request.body().is_end_stream())
        });
        let arrival = in_flight.as_ref().map(|in_flight| Arc::clone(&in_flight.0));
        ResponseFuture {
            response: self.inner.call(request.map(|body| RequestBody { body, arrival })),
            in_flight,
        }
    }
}

/// A request in flight, from its head to the end of its response.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Arrival>);

#[derive(Debug)]
struct Arrival {
    activity: Arc<Activity>,
    is_complete: AtomicBool,
}

impl Arrival {
    /// Records that the request was received completely, or that its remainder is no longer awaited.
    fn complete(&self) {
        if !self.is_complete.swap(true, Ordering::Relaxed) {
            self.activity.arriving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl InFlight {
    pub(super) fn begin(activity: Arc<Activity>, is_complete: bool) -> Self {
        if !is_complete {
            activity.arriving.fetch_add(1, Ordering::Relaxed);
        }
        activity.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Arrival {
            activity,
            is_complete: AtomicBool::new(is_complete),
        }))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.complete();
        self.0.activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// A request body that records when it was received completely.
    pub struct RequestBody<B> {
        #[pin]
        body: B,
        arrival: Option<Arc<Arrival>>,
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if (frame.is_none() || this.body.is_end_stream())
            && let Some(arrival) = this.arrival.take()
        {
            arrival.complete();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// The pending response to a counted request.
    pub struct ResponseFuture<F> {
        #[pin]
        response: F,
        in_flight: Option<InFlight>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx));
        let in_flight = this.in_flight.take();
        Poll::Ready(response.map(|response| response.map(|body| ResponseBody { body, in_flight })))
    }
}

pin_project! {
    /// A response body. Its request ends once the HTTP server has written the last chunk or, if that chunk is not known to be the last,
    /// when the body ends.
    pub struct ResponseBody<R> {
        #[pin]
        body: R,
        in_flight: Option<InFlight>,
    }
}

/// The last chunk of a response. The HTTP server drops the chunk after writing it. Over HTTP/2, the server holds the chunk until the
/// client's flow-control window has room, and dropping the chunk is the only sign that it was written.
struct LastChunk {
    bytes: Bytes,
    _in_flight: InFlight,
}

impl AsRef<[u8]> for LastChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<R: Body<Data = Bytes>> Body for ResponseBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        let is_last = frame.is_some() && this.body.is_end_stream() && parley_fault::is_on(Protection::DrainedResponses);
        if !is_last {
            if frame.is_none() {
                *this.in_flight = None;
            }
            return Poll::Ready(frame);
        }
        let held = |bytes: Bytes| match this.in_flight.take() {
            Some(in_flight) => Bytes::from_owner(LastChunk {
                bytes,
                _in_flight: in_flight,
            }),
            None => bytes,
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    /// hyper drops a body while it still holds the body's last chunk.
    #[tokio::test]
    async fn request_is_in_flight_until_its_last_chunk_is_written() {
        let activity = Arc::new(Activity::default());
        let mut body = ResponseBody {
            body: Full::new(Bytes::from_static(b"the last piece")),
            in_flight: Some(InFlight::begin(Arc::clone(&activity), true)),
        };
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!((&chunk[..], activity.requests.load(Ordering::Relaxed)), (&b"the last piece"[..], 1));
        let rest = chunk.slice(5..);
        drop(chunk);
        assert_eq!(activity.requests.load(Ordering::Relaxed), 1);
        drop(rest);
        assert_eq!(activity.requests.load(Ordering::Relaxed), 0);
    }
}
