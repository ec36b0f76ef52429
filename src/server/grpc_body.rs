//! The bodies of gRPC calls: charged to the memory of requests, and timed, by message.
//!
//! A body says the length of each message before its first byte. So a call is charged when a message begins; of a stream, the message
//! before is then done with. The last charge is kept until the call is answered, because a unary call works on its message until then.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{body_time::BodyTime, closing::Closer, unread::Unread};
use crate::{
    api, pb,
    request_memory::{Charge, RequestMemory},
};

/// Bytes before each message: a flag, and its length.
const PREFIX: usize = 5;

/// Limits the bodies of calls.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The memory of all requests.
    pub memory: RequestMemory,
    /// How long a message may take, beside what its bytes earn.
    pub timeout: Duration,
    /// The largest message that is taken: a larger one is refused when its length is read, and charged for nothing.
    pub max_message_bytes: usize,
    /// The answers that clients have not taken yet. Streams are watched where they are made.
    pub unread: Unread,
}

impl<S> Layer<S> for BodyLimits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited {
            inner,
            limits: self.clone(),
        }
    }
}

/// A service behind [`BodyLimits`].
#[derive(Clone, Debug)]
pub struct Limited<S> {
    inner: S,
    limits: BodyLimits,
}

impl<S> Service<http::Request<Body>> for Limited<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<http::Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let charge = Arc::new(self.limits.memory.charge());
        let metered = |body| {
            Body::new(Metered {
                body,
                charge: Arc::clone(&charge),
                prefix: [0; PREFIX],
                came: 0,
                left: 0,
                max: self.limits.max_message_bytes,
                time: BodyTime::new(self.limits.timeout),
                timeout: self.limits.timeout,
            })
        };
        let is_stream = pb::policy::method(request.uri().path()).is_some_and(pb::policy::Method::is_stream);
        let watched = (!is_stream && self.limits.unread.is_on()).then(|| {
            let closer: Closer = request.extensions().get().cloned().unwrap_or_default();
            (self.limits.unread.clone(), closer)
        });
        let answer = self.inner.call(request.map(metered));
        Box::pin(async move {
            let answer = answer.await;
            drop(charge);
            let Some((unread, closer)) = watched else { return answer };
            answer.map(|answer| answer.map(|body| Body::new(unread.watch(body, closer))))
        })
    }
}

/// The most that so many bytes of gzip can hold: deflate makes at most 258 bytes of two bits, see zlib's technical notes.
fn inflated(compressed: usize) -> usize {
    compressed.saturating_mul(1032)
}

/// A body whose messages are charged and timed.
struct Metered {
    body: Body,
    charge: Arc<Charge>,
    /// The prefix of the next message, as far as it came.
    prefix: [u8; PREFIX],
    came: usize,
    /// Bytes of the present message that are still to come.
    left: usize,
    max: usize,
    time: BodyTime,
    timeout: Duration,
}

impl Metered {
    /// Whether a message has begun and has not come whole.
    fn is_inside(&self) -> bool {
        self.came > 0 || self.left > 0
    }

    /// Follows the messages through the next bytes.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        self.time.received(bytes.len());
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            if self.came == 0 {
                self.time.restart();
            }
            let taken = (PREFIX - self.came).min(bytes.len());
            self.prefix[self.came..self.came + taken].copy_from_slice(&bytes[..taken]);
            self.came += taken;
            bytes = &bytes[taken..];
            if self.came == PREFIX {
                self.came = 0;
                let [flag, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length) as usize;
                self.left = length;
                // An empty message is charged too, so that it is refused while there is no room: its answer takes memory.
                let charged = match (length > self.max, flag) {
                    (true, _) => 0,
                    (false, 0) => length.max(1),
                    // tonic inflates it, up to the size of the largest message.
                    (false, _) => inflated(length).clamp(1, self.max.max(1)),
                };
                self.charge.set(charged).map_err(|_| api::no_memory())?;
            }
        }
        Ok(())
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            // Between messages a stream may rest; the first message of a call has the call's deadline.
            if this.is_inside() {
                ready!(this.time.poll_late(this.timeout, cx));
                return Poll::Ready(Some(Err(api::slow_message())));
            }
            return Poll::Pending;
        };
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
            && let Err(refused) = this.follow(bytes)
        {
            return Poll::Ready(Some(Err(refused)));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn metered(memory: &RequestMemory) -> Metered {
        Metered {
            body: Body::empty(),
            charge: Arc::new(memory.charge()),
            prefix: [0; PREFIX],
            came: 0,
            left: 0,
            max: 1000,
            time: BodyTime::new(Duration::from_secs(1)),
            timeout: Duration::from_secs(1),
        }
    }

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(PREFIX + length as usize, 7);
        bytes
    }

    #[test]
    fn messages_are_charged_one_at_a_time() {
        let memory = RequestMemory::new(0, 150);
        let bytes = [message(100), message(0), message(60), message(40)].concat();
        for size in 1..bytes.len() {
            let mut body = metered(&memory);
            for piece in bytes.chunks(size) {
                body.follow(piece).unwrap();
                assert!(memory.used() <= 100);
            }
            assert_eq!((body.is_inside(), memory.used()), (false, 40));
        }
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_compressed_message_is_charged_what_it_may_hold() {
        let memory = RequestMemory::new(0, 2000);
        let mut body = metered(&memory);
        body.follow(&[1, 0, 0, 0, 0]).unwrap();
        assert_eq!(memory.used(), 1);
        body.follow(&[1, 0, 0, 0, 9]).unwrap();
        assert_eq!(memory.used(), 1000, "the largest message at most");
    }

    #[test]
    fn a_message_is_charged_before_it_comes() {
        let memory = RequestMemory::new(0, 150);
        let (mut first, mut second) = (metered(&memory), metered(&memory));
        first.follow(&message(100)[..PREFIX]).unwrap();
        assert_eq!(memory.used(), 100);
        let refused = second.follow(&message(51)[..PREFIX]).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        // One that will be refused for its size takes nothing.
        metered(&memory).follow(&[0, 0xff, 0xff, 0xff, 0xff]).unwrap();
        drop(first);
        assert!(second.follow(&message(51)[..PREFIX]).is_ok());
    }
}
