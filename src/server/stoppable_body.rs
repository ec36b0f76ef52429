//! Response streams that end with a status when the server drains.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pin_project! {
    /// A response body that ends with a status after `stop` is cancelled and all ready frames are sent.
    pub struct StoppableBody<R> {
        #[pin]
        body: R,
        #[pin]
        stop: WaitForCancellationFutureOwned,
        status: Option<http::HeaderMap>,
    }
}

impl<R> StoppableBody<R> {
    /// Ends `body` with the trailers `status` when `stop` is cancelled.
    pub fn new(stop: CancellationToken, status: http::HeaderMap, body: R) -> Self {
        Self {
            body,
            stop: stop.cancelled_owned(),
            status: Some(status),
        }
    }
}

impl<R: Body> Body for StoppableBody<R> {
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
