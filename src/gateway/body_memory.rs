//! Bodies on the account of the memory of all requests: refused with 503 before they are read where they declare their length, else as soon
//! as there is no room for what came.
//!
//! A form in parts is charged as it comes, and gives back what was stored of its files.

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

use super::{error::Failure, multipart};
use crate::request_memory::{Charge, Exhausted, RequestMemory};

/// What a request holds; an extension of one whose body is charged.
#[derive(Clone, Debug)]
pub struct Held(pub Arc<Charge>);

/// Charges the body of a request until it is answered. A body above `max` bytes is refused by its reader, and charged for nothing.
pub async fn charge(memory: RequestMemory, max: usize, mut request: Request, next: Next) -> Response {
    // Also without a body: its answer takes memory.
    if memory.check().is_err() {
        return Failure::no_memory().into_response();
    }
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let charge = Arc::new(memory.charge());
    let declared = request.body().size_hint().exact();
    let is_exhausted = Arc::new(AtomicBool::new(false));
    if let Some(length) = declared
        && multipart::boundary(request.headers()).is_none()
    {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length <= max && charge.add(length).is_err() {
            return Failure::no_memory().into_response();
        }
    } else {
        request.extensions_mut().insert(Held(Arc::clone(&charge)));
        request = request.map(|body| {
            Body::new(Charged {
                body,
                charge: Arc::clone(&charge),
                is_exhausted: Arc::clone(&is_exhausted),
            })
        });
    }
    let response = next.run(request).await;
    drop(charge);
    if is_exhausted.load(Ordering::Acquire) {
        return Failure::no_memory().into_response();
    }
    response
}

/// A body that is charged as it comes.
struct Charged {
    body: Body,
    charge: Arc<Charge>,
    is_exhausted: Arc<AtomicBool>,
}

impl HttpBody for Charged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
            && let Err(Exhausted) = this.charge.add(bytes.len())
        {
            this.is_exhausted.store(true, Ordering::Release);
            let refused = io::Error::new(io::ErrorKind::OutOfMemory, "no memory for the body");
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
