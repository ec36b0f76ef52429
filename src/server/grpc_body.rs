//! Request bodies of gRPC calls: each message is charged to the request memory, and its arrival is limited in time.
//!
//! A body declares the length of each message before the message's first byte, so a message that does not fit is rejected at its beginning.
//! Other messages are charged as their bytes arrive. In a stream, the charge for a message ends when the next message begins. The last
//! charge is kept until the call completes, because a unary call uses its message until then.
//!
//! A message is passed on only when it is complete: the decoder reserves memory of the declared length as soon as it sees the prefix, and a
//! client could send nothing but prefixes.

mod anonymous;

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
    rate_limit::{AnonymousLimits, ProcessingSlot},
    request_memory::{MemoryCharge, MemoryShare, RequestMemory, RequestSender},
};
use parley_compute::{HasWeight, WeighedBody, Weight};
use parley_fault::Protection;
use parley_proto as pb;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{body_timeout::BodyTimeout, connection_closer::ConnectionCloser, unread_responses::UnreadResponses};
use anonymous::AnonymousPacing;

/// Size in bytes of the prefix of each message: a flag and the length.
const PREFIX_BYTES: usize = 5;

/// Layer that limits the request bodies of gRPC calls.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The memory shared by all requests.
    pub memory: RequestMemory,
    /// How long the arrival of a message may take, in addition to the time that `BodyTimeout` grants for its bytes.
    pub timeout: Duration,
    /// Maximum size of a message in bytes. A larger message is rejected when its length is read, and not charged.
    pub max_message_bytes: usize,
    /// The responses that clients have not read yet. Response streams are not watched here, but where they are created.
    pub unread: UnreadResponses,
    /// Rate limits for callers without a token.
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

/// A service whose request bodies are limited by [`BodyLimits`].
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
        let sender = RequestSender::of(request.headers(), request.extensions());
        let method = pb::policy::method(request.uri().path());
        let call_memory = CallMemory::new(memory.charge(memory.holder(&sender)));
        let metered = |body| {
            let mut metered = MeteredBody::new(body, call_memory.clone(), (memory.clone(), sender), &self.limits);
            if let Some(pacing) = &mut metered.pacing {
                // A call to a method that is not part of the contract does no work that requires a processing slot.
                pacing.takes_turn = method.is_some_and(pb::policy::Method::takes_turn);
            }
            // A large message is passed on in a separate poll, so that decoding and processing it count as heavy steps, which do not block
            // the runtime's workers.
            Body::new(WeighedBody::new(metered, call_memory.clone()))
        };
        let is_stream = method.is_some_and(pb::policy::Method::is_stream);
        let watched = (!is_stream && self.limits.unread.is_enabled()).then(|| {
            let closer: ConnectionCloser = request.extensions().get().cloned().unwrap_or_default();
            (self.limits.unread.clone(), closer)
        });
        let response = self.inner.call(request.map(metered));
        Box::pin(async move {
            let response = call_memory.weight().run(response).await;
            let holder = call_memory.charge().holder();
            drop(call_memory);
            let Some((unread, closer)) = watched else { return response };
            response.map(|response| response.map(|body| Body::new(unread.watch(body, closer, holder))))
        })
    }
}

/// The resources that a call holds until it completes.
#[derive(Clone)]
struct CallMemory(Arc<CallMemoryInner>);

struct CallMemoryInner {
    charge: MemoryCharge,
    weight: Weight,
    /// The processing slot of a caller without a token.
    processing_slot: OnceLock<ProcessingSlot>,
}

impl CallMemory {
    fn new(charge: MemoryCharge) -> Self {
        Self(Arc::new(CallMemoryInner {
            charge,
            weight: Weight::default(),
            processing_slot: OnceLock::new(),
        }))
    }

    fn charge(&self) -> &MemoryCharge {
        &self.0.charge
    }
}

impl HasWeight for CallMemory {
    fn weight(&self) -> &Weight {
        &self.0.weight
    }
}

/// Returns an upper bound of the decompressed size of gzip data: deflate encodes at most 258 bytes in two bits (see zlib's technical
/// notes).
fn max_inflated_size(compressed: usize) -> usize {
    compressed.saturating_mul(1032)
}

/// A request body whose messages are charged to the request memory and must arrive in time.
struct MeteredBody {
    body: Body,
    call_memory: CallMemory,
    /// The sender, until the first message begins. The sender is classified only then, because its token has been looked up by that time.
    unidentified: Option<(RequestMemory, RequestSender)>,
    /// The received part of the next message's prefix.
    prefix: [u8; PREFIX_BYTES],
    prefix_read: usize,
    /// Number of bytes of the current message that have not arrived.
    remaining: usize,
    /// Number of bytes that have not yet been charged for the current message.
    uncharged: usize,
    /// The received part of the current message. It is copied, because a slice would keep the whole read buffer in memory.
    buffered: BytesMut,
    /// Whether the body ended within a message. If so, `end_frame` holds the frame or error that followed.
    has_ended: bool,
    end_frame: Option<Result<Frame<Bytes>, Status>>,
    max: usize,
    time: BodyTimeout,
    timeout: Duration,
    /// The delays for a caller without a token. `None` for other callers.
    pacing: Option<Box<AnonymousPacing>>,
}

impl MeteredBody {
    fn new(body: Body, call_memory: CallMemory, from: (RequestMemory, RequestSender), limits: &BodyLimits) -> Self {
        let pacing = (call_memory.charge().holder() != MemoryShare::Authenticated)
            .then(|| Box::new(AnonymousPacing::new(Arc::clone(&limits.anonymous), from.1.address())));
        Self {
            body,
            call_memory,
            pacing,
            unidentified: Some(from),
            prefix: [0; PREFIX_BYTES],
            prefix_read: 0,
            remaining: 0,
            uncharged: 0,
            buffered: BytesMut::new(),
            has_ended: false,
            end_frame: None,
            max: limits.max_message_bytes,
            time: BodyTimeout::new(limits.timeout),
            timeout: limits.timeout,
        }
    }

    /// Returns whether a message has begun and is not complete.
    fn is_inside_message(&self) -> bool {
        self.prefix_read > 0 || self.remaining > 0
    }

    /// Tracks message boundaries through the next bytes. Returns how many of the bytes can be passed on.
    fn track(&mut self, bytes: &[u8]) -> Result<usize, Status> {
        self.time.received(bytes.len());
        let (mut rest, mut whole) = (bytes, 0);
        while !rest.is_empty() {
            if self.remaining > 0 {
                let taken = self.remaining.min(rest.len());
                self.remaining -= taken;
                rest = &rest[taken..];
                self.charge_chunk(taken)?;
            } else {
                if self.prefix_read == 0 {
                    self.time.restart();
                }
                let taken = (PREFIX_BYTES - self.prefix_read).min(rest.len());
                self.prefix[self.prefix_read..self.prefix_read + taken].copy_from_slice(&rest[..taken]);
                self.prefix_read += taken;
                rest = &rest[taken..];
                if self.prefix_read == PREFIX_BYTES {
                    self.prefix_read = 0;
                    self.begin_message()?;
                }
            }
            // Pass on a message that is too large right after its prefix, so that the decoder rejects it.
            if !self.is_inside_message() || self.is_too_large() {
                whole = bytes.len() - rest.len();
            }
        }
        Ok(whole)
    }

    /// Starts charging a message whose prefix has been read.
    fn begin_message(&mut self) -> Result<(), Status> {
        if let Some((memory, sender)) = self.unidentified.take() {
            let holder = memory.holder(&sender);
            self.call_memory.charge().transfer(holder);
            self.pacing.take_if(|_| holder == MemoryShare::Authenticated);
        }
        self.remaining = self.length();
        // Charge an empty message too, so that it is rejected while memory is exhausted: its response needs memory.
        let charged = match (self.is_too_large(), self.prefix[0]) {
            (true, _) => 0,
            (false, 0) => self.remaining.max(1),
            // tonic decompresses the message, up to the maximum message size.
            (false, _) => max_inflated_size(self.remaining).clamp(1, self.max.max(1)),
        };
        self.uncharged = charged;
        self.call_memory.charge().end();
        self.call_memory.charge().begin(charged).map_err(|_| parley_grpc::no_memory())
    }

    /// Charges for a received part of a message. With the last part, charges the rest of the maximum amount of memory that the message can
    /// need.
    fn charge_chunk(&mut self, bytes: usize) -> Result<(), Status> {
        let due = match (self.remaining, self.prefix[0]) {
            (0, _) => self.uncharged,
            (_, 0) => self.uncharged.min(bytes),
            (_, _) => self.uncharged.min(max_inflated_size(bytes)),
        };
        self.uncharged -= due;
        self.call_memory.charge().received(due).map_err(|_| parley_grpc::no_memory())
    }

    /// Returns the declared length of the current message.
    fn length(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length) as usize
    }

    fn is_too_large(&self) -> bool {
        self.remaining > 0 && self.length() > self.max
    }

    /// Processes the next bytes. Returns those that can be passed on.
    fn accept(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, Status> {
        let whole = self.track(&bytes)?;
        if !parley_fault::is_on(Protection::MemoryShares) {
            return Ok(Some(bytes));
        }
        let mut ready = bytes.split_to(whole);
        if !self.buffered.is_empty() && whole > 0 {
            self.buffered.extend_from_slice(&ready);
            ready = std::mem::take(&mut self.buffered).freeze();
        }
        self.buffered.extend_from_slice(&bytes);
        Ok((!ready.is_empty()).then_some(ready))
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(pacing) = &mut this.pacing
                && let Some(message) = ready!(pacing.poll(&this.call_memory.0.processing_slot, cx))
            {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            if this.has_ended {
                return Poll::Ready(this.end_frame.take());
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                // A stream may be idle between messages. The wait for the first message is limited by the call's deadline.
                if this.is_inside_message() {
                    ready!(this.time.poll_expired(this.timeout, cx));
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
                    let received = bytes.len();
                    let taken = this.accept(bytes).map(|ready| match &mut this.pacing {
                        Some(pacing) => pacing.received(received, ready),
                        None => ready,
                    });
                    match taken {
                        Ok(Some(ready)) => return Poll::Ready(Some(Ok(Frame::data(ready)))),
                        Ok(None) => {}
                        Err(refused) => return Poll::Ready(Some(Err(refused))),
                    }
                }
                Err(last) if this.buffered.is_empty() => return Poll::Ready(last),
                // Pass on an incomplete message, so that the decoder rejects it.
                Err(last) => {
                    (this.has_ended, this.end_frame) = (true, last);
                    let rest = std::mem::take(&mut this.buffered).freeze();
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_waiting = self.pacing.as_ref().is_some_and(|pacing| pacing.is_waiting());
        !is_waiting && self.buffered.is_empty() && self.end_frame.is_none() && (self.has_ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let of_body = self.body.size_hint();
        let buffered = self.buffered.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + buffered);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + buffered);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parley_admission::request_memory::MEMORY_PER_BYTE;

    fn metered(memory: &RequestMemory) -> MeteredBody {
        let limits = BodyLimits {
            memory: memory.clone(),
            timeout: Duration::from_secs(1),
            max_message_bytes: 1000,
            unread: UnreadResponses::new(memory.clone(), Duration::from_secs(1)),
            anonymous: AnonymousLimits::new(parley_admission::rate_limit::Config::default()),
        };
        let call_memory = CallMemory::new(memory.charge(MemoryShare::Authenticated));
        let mut metered = MeteredBody::new(Body::empty(), call_memory, (memory.clone(), RequestSender::default()), &limits);
        metered.unidentified = None;
        metered
    }

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(PREFIX_BYTES + length as usize, 7);
        bytes
    }

    #[test]
    fn messages_are_charged_individually_and_forwarded_whole() {
        let memory = RequestMemory::new(150 * MEMORY_PER_BYTE, 0);
        let bytes = [message(100), message(0), message(60), message(40)].concat();
        for size in 1..=bytes.len() {
            let mut body = metered(&memory);
            let mut handed_on: Vec<u8> = Vec::new();
            for chunk in bytes.chunks(size) {
                handed_on.extend(body.accept(Bytes::copy_from_slice(chunk)).unwrap().unwrap_or_default());
                assert!(memory.used() <= 100);
                assert_eq!(body.buffered.is_empty(), !body.is_inside_message());
            }
            assert_eq!(handed_on, bytes, "{size}");
            assert_eq!((body.is_inside_message(), memory.used()), (false, 40));
        }
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn compressed_message_is_charged_its_maximum_size() {
        let memory = RequestMemory::new(2000 * MEMORY_PER_BYTE, 0);
        let mut body = metered(&memory);
        body.track(&[1, 0, 0, 0, 0]).unwrap();
        assert_eq!(memory.used(), 1);
        body.track(&[1, 0, 0, 0, 9]).unwrap();
        assert_eq!(memory.used(), 1000, "the largest message at most");
    }

    #[test]
    fn message_beyond_the_budget_is_rejected_before_it_arrives() {
        let memory = RequestMemory::new(10_000 * MEMORY_PER_BYTE, 0);
        let start = |length| {
            let mut body = metered(&memory);
            body.max = 10_000;
            body.accept(Bytes::from(message(length)).slice(..PREFIX_BYTES)).map(|_| body)
        };
        // A declared length alone takes no memory from other requests.
        let idle: Vec<_> = (0..3).map(|_| start(7000).unwrap()).collect();
        assert_eq!(memory.used(), 3 * 1024);
        assert_eq!(start(7000).err().unwrap().code(), tonic::Code::ResourceExhausted);
        let mut coming = start(6900).unwrap();
        coming.accept(Bytes::from(vec![7; 5000])).unwrap();
        assert_eq!(memory.used(), 3 * 1024 + 5000);
        assert_eq!(start(2000).err().unwrap().code(), tonic::Code::ResourceExhausted);
        drop(idle);
        assert!(start(2000).is_ok());
    }

    #[test]
    fn oversized_message_is_forwarded_for_rejection() {
        let memory = RequestMemory::new(100 * MEMORY_PER_BYTE, 0);
        let mut body = metered(&memory);
        let start = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 20]].concat();
        assert_eq!(body.accept(Bytes::from(start.clone())).unwrap().unwrap(), start);
        assert_eq!(memory.used(), 0);
    }
}
