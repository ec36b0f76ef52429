//! How the connections of a listener end when it drains.
//!
//! hyper closes a connection that rests, and waits for every other one: for half a head, for a body that stands still, and over HTTP/2 for a
//! peer that does not answer the ping after GOAWAY. So each connection counts its requests, and once the drain has begun one without a complete
//! request in flight fails its reads after [`SETTLE`]. What is complete is answered, until [`Draining::cut`].

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::extract::ConnectInfo;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{Layer, Service};

use super::closing::Closer;
use crate::fault::{self, Protection};

/// How long a connection without a complete request is kept after the drain has begun: the time for what is on its way, such as the answer to a
/// ping, the rest of a request, or the last bytes of a response.
const SETTLE: Duration = Duration::from_secs(1);

/// How often a connection that is still there is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// The connections of a listener, and how they end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Draining {
    begun: CancellationToken,
    cut: CancellationToken,
    open: Arc<AtomicUsize>,
}

impl Draining {
    /// For a listener that drains from `begun` on.
    pub fn from(begun: CancellationToken) -> Self {
        Self {
            begun,
            cut: CancellationToken::new(),
            open: Arc::default(),
        }
    }

    /// Ends what is still open, and returns how many connections that are.
    pub fn cut(&self) -> usize {
        let open = self.open.load(Ordering::Relaxed);
        self.cut.cancel();
        open
    }

    /// Waits until connections are cut.
    pub fn is_cut(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cut.clone().cancelled_owned()
    }

    /// Watches over a connection that was just accepted.
    pub fn connection(&self) -> Closing {
        self.open.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::default());
        Closing {
            end: Box::pin(end(self.begun.child_token(), self.cut.clone(), Arc::clone(&activity))),
            activity,
            open: Arc::clone(&self.open),
        }
    }
}

/// What goes on over a connection.
#[derive(Debug, Default)]
pub struct Activity {
    /// Requests whose head came and whose response is not complete.
    requests: AtomicUsize,
    /// Those of them whose body is still to come, or its end.
    arriving: AtomicUsize,
    read: AtomicU64,
    written: AtomicU64,
}

/// Ends when the connection has to: it is cut, or it drains and has nothing to wait for.
async fn end(begun: CancellationToken, cut: CancellationToken, activity: Arc<Activity>) {
    begun.cancelled().await;
    let mut since = Instant::now();
    let (mut read, mut written) = (activity.read.load(Ordering::Relaxed), activity.written.load(Ordering::Relaxed));
    while since.elapsed() < SETTLE || !fault::is_on(Protection::DrainedConnections) {
        if cut.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return;
        }
        let (read_now, written_now) = (activity.read.load(Ordering::Relaxed), activity.written.load(Ordering::Relaxed));
        let (requests, arriving) = (activity.requests.load(Ordering::Relaxed), activity.arriving.load(Ordering::Relaxed));
        // A head that comes byte by byte is not waited for.
        let moves = written_now > written || (arriving > 0 && read_now > read);
        if requests > arriving || moves {
            since = Instant::now();
        }
        (read, written) = (read_now, written_now);
    }
}

/// A connection's part in the drain.
pub struct Closing {
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    activity: Arc<Activity>,
    open: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closing").field("activity", &self.activity).finish_non_exhaustive()
    }
}

impl Closing {
    /// Ready once the connection has to end. Must not be polled again then.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.end.as_mut().poll(cx)
    }

    /// Notes bytes that came.
    pub fn read(&self, bytes: usize) {
        self.activity.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes bytes that went out.
    pub fn written(&self, bytes: usize) {
        self.activity.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Where requests of the connection are counted.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request knows of its connection, as an extension.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end. Where proxies stand between, the last of them.
    pub from: std::net::SocketAddr,
    /// Where the request is counted.
    pub activity: Arc<Activity>,
    /// What closes the connection.
    pub closer: Closer,
}

/// Counts requests, which have a [`Peer`], and gives them axum's [`ConnectInfo`] and what closes their connection.
#[derive(Clone, Copy, Debug)]
pub struct CountRequests;

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<Arriving<B>>, Response = Response<R>>,
    B: Body,
{
    type Response = Response<Answering<R>>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

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
        let arrived = in_flight.as_ref().map(|in_flight| Arc::clone(&in_flight.0));
        Answer {
            answer: self.inner.call(request.map(|body| Arriving { body, arrived })),
            in_flight,
        }
    }
}

/// A request in flight, from its head to the end of its response.
#[derive(Debug)]
struct InFlight(Arc<Arrival>);

#[derive(Debug)]
struct Arrival {
    activity: Arc<Activity>,
    is_complete: AtomicBool,
}

impl Arrival {
    /// Notes that the whole request is there, or that nobody waits for the rest of it.
    fn complete(&self) {
        if !self.is_complete.swap(true, Ordering::Relaxed) {
            self.activity.arriving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl InFlight {
    fn begin(activity: Arc<Activity>, is_complete: bool) -> Self {
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
    /// The body of a request, which notes when all of it has come.
    pub struct Arriving<B> {
        #[pin]
        body: B,
        arrived: Option<Arc<Arrival>>,
    }
}

impl<B: Body> Body for Arriving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if (frame.is_none() || this.body.is_end_stream())
            && let Some(arrived) = this.arrived.take()
        {
            arrived.complete();
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
    /// The response to a request that is counted.
    pub struct Answer<F> {
        #[pin]
        answer: F,
        in_flight: Option<InFlight>,
    }
}

impl<F, R, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Answering<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        let in_flight = this.in_flight.take();
        Poll::Ready(answer.map(|answer| answer.map(|body| Answering { body, in_flight })))
    }
}

pin_project! {
    /// The body of a response, with which its request ends.
    pub struct Answering<R> {
        #[pin]
        body: R,
        in_flight: Option<InFlight>,
    }
}

impl<R: Body> Body for Answering<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if frame.is_none() {
            *this.in_flight = None;
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
    /// The body of a response stream that ends with a status once `stop` is, after what is ready.
    pub struct Ending<R> {
        #[pin]
        body: R,
        #[pin]
        stop: WaitForCancellationFutureOwned,
        status: Option<http::HeaderMap>,
    }
}

impl<R> Ending<R> {
    /// Ends `body` with the trailers of `status` when `stop` is cancelled.
    pub fn at(stop: CancellationToken, status: http::HeaderMap, body: R) -> Self {
        Self {
            body,
            stop: stop.cancelled_owned(),
            status: Some(status),
        }
    }
}

impl<R: Body> Body for Ending<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = self.project();
        if this.status.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(this.stop.poll(cx));
        Poll::Ready(this.status.take().map(|status| Ok(Frame::trailers(status))))
    }

    fn is_end_stream(&self) -> bool {
        self.status.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection of a listener that has begun to drain, and whether it has to end within a minute.
    async fn ends(with: impl FnOnce(&Activity)) -> bool {
        let begun = CancellationToken::new();
        let draining = Draining::from(begun.clone());
        let mut closing = draining.connection();
        with(&closing.activity);
        begun.cancel();
        let ended = tokio::time::timeout(Duration::from_mins(1), std::future::poll_fn(|cx| closing.poll_end(cx))).await;
        assert_eq!(draining.cut(), 1);
        drop(closing);
        assert_eq!(draining.cut(), 0);
        ended.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_complete_requests_keep_a_connection_open() {
        assert!(ends(|_| {}).await);
        assert!(
            ends(|activity| {
                activity.requests.store(1, Ordering::Relaxed);
                activity.arriving.store(1, Ordering::Relaxed);
            })
            .await
        );
        assert!(!ends(|activity| activity.requests.store(1, Ordering::Relaxed)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_ends_a_connection_with_a_complete_request() {
        let begun = CancellationToken::new();
        let draining = Draining::from(begun.clone());
        let mut closing = draining.connection();
        let in_flight = InFlight::begin(closing.activity(), true);
        begun.cancel();
        draining.cut();
        std::future::poll_fn(|cx| closing.poll_end(cx)).await;
        drop(in_flight);
        assert_eq!(closing.activity.requests.load(Ordering::Relaxed), 0);
    }
}
