//! Charges request bodies to the memory budget shared by all requests, chunk by chunk as they arrive. As soon as a chunk does not fit into
//! the remaining budget, the request is rejected with 503. A body with a declared length is rejected before it is read if that length does
//! not fit.
//!
//! A multipart form releases the memory of each chunk of a file once the chunk is stored.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{AnonymousLimits, BodyThrottle},
    request_memory::{Exhausted, MemoryCharge, MemoryShare, RequestMemory, RequestSender},
};

use crate::{
    errors::ApiError,
    params::{memory_charge::BodyCharge, multipart},
};

/// Charges the body of a request to the memory budget until the response is ready. A body larger than `max` bytes is rejected by its
/// parser. Bodies sent by callers without a token are read at the rate that their address is allowed.
pub async fn charge((memory, limits): (RequestMemory, Arc<AnonymousLimits>), max: usize, mut request: Request, next: Next) -> Response {
    let sender = RequestSender::of(request.headers(), request.extensions());
    let mut holder = memory.holder(&sender);
    let charge = Arc::new(memory.charge(holder));
    let has_body = !request.body().is_end_stream();
    // Do not check the declared length of a form, because its files are stored as they arrive, so the form may be longer than the remaining
    // budget. Nor check the declared length of a body longer than `max`, because such a body is not read at all.
    let declared = request
        .body()
        .size_hint()
        .exact()
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let is_form = multipart::boundary(request.headers()).is_some();
    let length = declared
        .filter(|length| *length <= max && !is_form)
        .unwrap_or(usize::from(has_body));
    // Check the budget even if the request has no body, because the response takes memory too.
    let begin = |holder| memory.check(holder).and_then(|()| charge.begin(length));
    if begin(holder).is_err() {
        // The request was not charged as authenticated, but its token may be a valid one that was not used recently. Look the token up
        // before rejecting the request, because the share of the budget for authenticated callers may still have room.
        if holder == MemoryShare::Authenticated || !memory.has_valid_token(&sender).await {
            return ApiError::no_memory().into_response();
        }
        holder = MemoryShare::Authenticated;
        charge.transfer(holder);
        if begin(holder).is_err() {
            return ApiError::no_memory().into_response();
        }
    }
    if !has_body {
        return next.run(request).await;
    }
    if declared.is_none() || is_form {
        request.extensions_mut().insert(BodyCharge(Arc::clone(&charge)));
    }
    let unknown = (holder != MemoryShare::Authenticated).then_some((memory, sender));
    let slowed = unknown
        .as_ref()
        .map(|(_, sender)| (limits, sender.address(), BodyThrottle::default()));
    let is_exhausted = Arc::new(AtomicBool::new(false));
    request = request.map(|body| {
        Body::new(Charged {
            body,
            charge: Arc::clone(&charge),
            unknown,
            slowed,
            is_exhausted: Arc::clone(&is_exhausted),
        })
    });
    let response = next.run(request).await;
    drop(charge);
    if is_exhausted.load(Ordering::Acquire) {
        return ApiError::no_memory().into_response();
    }
    response
}

/// A request body that is charged to the memory budget as it arrives.
struct Charged {
    body: Body,
    charge: Arc<MemoryCharge>,
    /// The sender of a request that was not charged as authenticated. The sender is checked again when the first chunk arrives: by then,
    /// early authorization has looked up the token of a request with a large body.
    unknown: Option<(RequestMemory, RequestSender)>,
    /// The rate limit on the body of a caller without a token.
    slowed: Option<(Arc<AnonymousLimits>, Option<ClientAddress>, BodyThrottle)>,
    is_exhausted: Arc<AtomicBool>,
}

impl HttpBody for Charged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Some((.., pace)) = &mut this.slowed {
            ready!(pace.poll(cx));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some((memory, sender)) = this.unknown.take() {
            let holder = memory.holder(&sender);
            this.charge.transfer(holder);
            this.slowed.take_if(|_| holder == MemoryShare::Authenticated);
        }
        if let Some((limits, address, pace)) = &mut this.slowed
            && let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref())
        {
            pace.received(limits, *address, data.len());
        }
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
            && let Err(Exhausted) = this.charge.received(bytes.len())
        {
            this.is_exhausted.store(true, Ordering::Release);
            let refused = io::Error::new(io::ErrorKind::OutOfMemory, "the memory budget for request bodies is exhausted");
            return Poll::Ready(Some(Err(axum::Error::new(refused))));
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
