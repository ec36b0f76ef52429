//! The bodies of gRPC calls: charged to the memory of requests, and timed, by message.
//!
//! A body says the length of each message before its first byte. So a message that does not fit is refused when it begins; it is charged as it
//! comes. Of a stream, the message before is then done with. The last charge is kept until the call is answered, because a unary call works on
//! its message until then.
//!
//! A message is handed on when all of it came: the decoder reserves the declared length with the prefix, which a client need not send more than.

mod stranger;

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use parley_admission::{
    rate_limit::{AnonymousLimits, Turn},
    request_memory::{Charge, Holder, RequestMemory, Sender},
};
use parley_compute::{Weighed, WeighedBody, Weight};
use parley_fault::Protection;
use parley_proto as pb;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{body_time::BodyTime, closing::Closer, unread::Unread};
use stranger::Stranger;

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
    /// What callers without a token may use.
    pub anonymous: Arc<AnonymousLimits>,
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
        let memory = &self.limits.memory;
        let sender = Sender::of(request.headers(), request.extensions());
        let method = pb::policy::method(request.uri().path());
        let held = Held::new(memory.charge(memory.holder(&sender)));
        let metered = |body| {
            let mut metered = Metered::new(body, held.clone(), (memory.clone(), sender), &self.limits);
            if let Some(stranger) = &mut metered.stranger {
                // A method that the contract does not have looks nothing up.
                stranger.takes_turn = method.is_some_and(pb::policy::Method::takes_turn);
            }
            // A large message is handed on in a poll of its own, and what is done with it leaves the runtime's workers.
            Body::new(WeighedBody::new(metered, held.clone()))
        };
        let is_stream = method.is_some_and(pb::policy::Method::is_stream);
        let watched = (!is_stream && self.limits.unread.is_on()).then(|| {
            let closer: Closer = request.extensions().get().cloned().unwrap_or_default();
            (self.limits.unread.clone(), closer)
        });
        let answer = self.inner.call(request.map(metered));
        Box::pin(async move {
            let answer = held.weight().run(answer).await;
            let holder = held.charge().holder();
            drop(held);
            let Some((unread, closer)) = watched else { return answer };
            answer.map(|answer| answer.map(|body| Body::new(unread.watch(body, closer, holder))))
        })
    }
}

/// What a call holds until it is answered.
#[derive(Clone)]
struct Held(Arc<HeldByCall>);

struct HeldByCall {
    charge: Charge,
    weight: Weight,
    /// Of a caller without a token.
    turn: OnceLock<Turn>,
}

impl Held {
    fn new(charge: Charge) -> Self {
        Self(Arc::new(HeldByCall {
            charge,
            weight: Weight::default(),
            turn: OnceLock::new(),
        }))
    }

    fn charge(&self) -> &Charge {
        &self.0.charge
    }
}

impl Weighed for Held {
    fn weight(&self) -> &Weight {
        &self.0.weight
    }
}

/// The most that so many bytes of gzip can hold: deflate makes at most 258 bytes of two bits, see zlib's technical notes.
fn inflated(compressed: usize) -> usize {
    compressed.saturating_mul(1032)
}

/// A body whose messages are charged and timed.
struct Metered {
    body: Body,
    held: Held,
    /// Who sends it, until its first message: it is read after its token was looked up.
    unknown: Option<(RequestMemory, Sender)>,
    /// The prefix of the next message, as far as it came.
    prefix: [u8; PREFIX],
    came: usize,
    /// Bytes of the present message that are still to come.
    left: usize,
    /// What is still to be charged for them.
    uncharged: usize,
    /// The present message, as far as it came. Copied: a piece would keep all that was read with it.
    waiting: BytesMut,
    /// The body broke off within a message; what came behind it.
    has_broken_off: bool,
    last: Option<Result<Frame<Bytes>, Status>>,
    max: usize,
    time: BodyTime,
    timeout: Duration,
    /// Of a caller without a token.
    stranger: Option<Box<Stranger>>,
}

impl Metered {
    fn new(body: Body, held: Held, from: (RequestMemory, Sender), limits: &BodyLimits) -> Self {
        let stranger =
            (held.charge().holder() != Holder::Known).then(|| Box::new(Stranger::new(Arc::clone(&limits.anonymous), from.1.address())));
        Self {
            body,
            held,
            stranger,
            unknown: Some(from),
            prefix: [0; PREFIX],
            came: 0,
            left: 0,
            uncharged: 0,
            waiting: BytesMut::new(),
            has_broken_off: false,
            last: None,
            max: limits.max_message_bytes,
            time: BodyTime::new(limits.timeout),
            timeout: limits.timeout,
        }
    }

    /// Whether a message has begun and has not come whole.
    fn is_inside(&self) -> bool {
        self.came > 0 || self.left > 0
    }

    /// Follows the messages through the next bytes; how many of those can be handed on.
    fn follow(&mut self, bytes: &[u8]) -> Result<usize, Status> {
        self.time.received(bytes.len());
        let (mut rest, mut whole) = (bytes, 0);
        while !rest.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(rest.len());
                self.left -= taken;
                rest = &rest[taken..];
                self.charge_piece(taken)?;
            } else {
                if self.came == 0 {
                    self.time.restart();
                }
                let taken = (PREFIX - self.came).min(rest.len());
                self.prefix[self.came..self.came + taken].copy_from_slice(&rest[..taken]);
                self.came += taken;
                rest = &rest[taken..];
                if self.came == PREFIX {
                    self.came = 0;
                    self.begin()?;
                }
            }
            // One that is too large is refused for its prefix.
            if !self.is_inside() || self.is_too_large() {
                whole = bytes.len() - rest.len();
            }
        }
        Ok(whole)
    }

    /// Charges a message whose prefix came, as far as it is charged before it comes.
    fn begin(&mut self) -> Result<(), Status> {
        if let Some((memory, sender)) = self.unknown.take() {
            let holder = memory.holder(&sender);
            self.held.charge().transfer(holder);
            self.stranger.take_if(|_| holder == Holder::Known);
        }
        self.left = self.length();
        // An empty message is charged too, so that it is refused while there is no room: its answer takes memory.
        let charged = match (self.is_too_large(), self.prefix[0]) {
            (true, _) => 0,
            (false, 0) => self.left.max(1),
            // tonic inflates it, up to the size of the largest message.
            (false, _) => inflated(self.left).clamp(1, self.max.max(1)),
        };
        self.uncharged = charged;
        self.held.charge().end();
        self.held.charge().begin(charged).map_err(|_| parley_grpc::no_memory())
    }

    /// Charges a piece of a message; with its last one, all that the message may take.
    fn charge_piece(&mut self, bytes: usize) -> Result<(), Status> {
        let due = match (self.left, self.prefix[0]) {
            (0, _) => self.uncharged,
            (_, 0) => self.uncharged.min(bytes),
            (_, _) => self.uncharged.min(inflated(bytes)),
        };
        self.uncharged -= due;
        self.held.charge().came(due).map_err(|_| parley_grpc::no_memory())
    }

    /// The length of the present message.
    fn length(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length) as usize
    }

    fn is_too_large(&self) -> bool {
        self.left > 0 && self.length() > self.max
    }

    /// Takes the next bytes; those that can be handed on.
    fn take(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, Status> {
        let whole = self.follow(&bytes)?;
        if !parley_fault::is_on(Protection::MemoryShares) {
            return Ok(Some(bytes));
        }
        let mut ready = bytes.split_to(whole);
        if !self.waiting.is_empty() && whole > 0 {
            self.waiting.extend_from_slice(&ready);
            ready = std::mem::take(&mut self.waiting).freeze();
        }
        self.waiting.extend_from_slice(&bytes);
        Ok((!ready.is_empty()).then_some(ready))
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(stranger) = &mut this.stranger
                && let Some(message) = ready!(stranger.poll(&this.held.0.turn, cx))
            {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            if this.has_broken_off {
                return Poll::Ready(this.last.take());
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                // Between messages a stream may rest; the first message of a call has the call's deadline.
                if this.is_inside() {
                    ready!(this.time.poll_late(this.timeout, cx));
                    return Poll::Ready(Some(Err(parley_grpc::message_timeout())));
                }
                return Poll::Pending;
            };
            let data = match frame {
                Some(Ok(frame)) => frame.into_data().map_err(|trailers| Some(Ok(trailers))),
                end => Err(end),
            };
            match data {
                Ok(bytes) => {
                    let came = bytes.len();
                    let taken = this.take(bytes).map(|ready| match &mut this.stranger {
                        Some(stranger) => stranger.came(came, ready),
                        None => ready,
                    });
                    match taken {
                        Ok(Some(ready)) => return Poll::Ready(Some(Ok(Frame::data(ready)))),
                        Ok(None) => {}
                        Err(refused) => return Poll::Ready(Some(Err(refused))),
                    }
                }
                Err(last) if this.waiting.is_empty() => return Poll::Ready(last),
                // A message that breaks off is for the decoder to refuse.
                Err(last) => {
                    (this.has_broken_off, this.last) = (true, last);
                    let rest = std::mem::take(&mut this.waiting).freeze();
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let waits = self.stranger.as_ref().is_some_and(|stranger| stranger.waits());
        !waits && self.waiting.is_empty() && self.last.is_none() && (self.has_broken_off || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let of_body = self.body.size_hint();
        let waiting = self.waiting.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + waiting);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + waiting);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parley_admission::request_memory::FACTOR;

    fn metered(memory: &RequestMemory) -> Metered {
        let limits = BodyLimits {
            memory: memory.clone(),
            timeout: Duration::from_secs(1),
            max_message_bytes: 1000,
            unread: Unread::new(memory.clone(), Duration::from_secs(1)),
            anonymous: AnonymousLimits::new(parley_admission::rate_limit::Config::default()),
        };
        let held = Held::new(memory.charge(Holder::Known));
        let mut metered = Metered::new(Body::empty(), held, (memory.clone(), Sender::default()), &limits);
        metered.unknown = None;
        metered
    }

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(PREFIX + length as usize, 7);
        bytes
    }

    #[test]
    fn messages_are_charged_one_at_a_time_and_handed_on_whole() {
        let memory = RequestMemory::new(150 * FACTOR, 0);
        let bytes = [message(100), message(0), message(60), message(40)].concat();
        for size in 1..=bytes.len() {
            let mut body = metered(&memory);
            let mut handed_on: Vec<u8> = Vec::new();
            for piece in bytes.chunks(size) {
                handed_on.extend(body.take(Bytes::copy_from_slice(piece)).unwrap().unwrap_or_default());
                assert!(memory.used() <= 100);
                assert_eq!(body.waiting.is_empty(), !body.is_inside());
            }
            assert_eq!(handed_on, bytes, "{size}");
            assert_eq!((body.is_inside(), memory.used()), (false, 40));
        }
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_compressed_message_is_charged_what_it_may_hold() {
        let memory = RequestMemory::new(2000 * FACTOR, 0);
        let mut body = metered(&memory);
        body.follow(&[1, 0, 0, 0, 0]).unwrap();
        assert_eq!(memory.used(), 1);
        body.follow(&[1, 0, 0, 0, 9]).unwrap();
        assert_eq!(memory.used(), 1000, "the largest message at most");
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused_before_it_comes() {
        let memory = RequestMemory::new(10_000 * FACTOR, 0);
        let begun = |length| {
            let mut body = metered(&memory);
            body.max = 10_000;
            body.take(Bytes::from(message(length)).slice(..PREFIX)).map(|_| body)
        };
        // Lengths that were only declared take nothing from others.
        let idle: Vec<_> = (0..3).map(|_| begun(7000).unwrap()).collect();
        assert_eq!(memory.used(), 3 * 1024);
        assert_eq!(begun(7000).err().unwrap().code(), tonic::Code::ResourceExhausted);
        let mut coming = begun(6900).unwrap();
        coming.take(Bytes::from(vec![7; 5000])).unwrap();
        assert_eq!(memory.used(), 3 * 1024 + 5000);
        assert_eq!(begun(2000).err().unwrap().code(), tonic::Code::ResourceExhausted);
        drop(idle);
        assert!(begun(2000).is_ok());
    }

    #[test]
    fn a_message_that_is_too_large_is_handed_on_for_its_refusal() {
        let memory = RequestMemory::new(100 * FACTOR, 0);
        let mut body = metered(&memory);
        let begun = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 20]].concat();
        assert_eq!(body.take(Bytes::from(begun.clone())).unwrap().unwrap(), begun);
        assert_eq!(memory.used(), 0);
    }
}
