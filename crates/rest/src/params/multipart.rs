//! A parser of `multipart/form-data` with bounded buffers.
//!
//! `multer` buffers everything its stream returns until it finds a boundary or the end of a part's header, and searches the whole buffer
//! again for each chunk. Its stream is therefore metered: it returns another 16 KiB only when the parser cannot produce a result (a part,
//! or a chunk of a part) from its buffer, and only once per result. A preamble or part header that needs more ends the form with an error.
//! As a result, the buffer only ever contains one such result and what arrived with the previous 16 KiB: at most 32 KiB plus the length of
//! a boundary, however many parts a form has.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts as Head},
};
use bytes::Bytes;
use futures_util::Stream;
use parley_fault::Protection;

use crate::{
    errors::ApiError,
    params::{memory_charge::BodyCharge, tree_budget::TooLarge},
};

/// Number of bytes that the parser is granted at a time.
const READ_AHEAD: usize = 16 * 1024;

/// Maximum number of files in a form. The service has a lower limit, but counts only the files that a message attaches.
pub const FILES: usize = 100;

/// Maximum characters of a boundary, as defined in RFC 2046, section 5.1.1.
const BOUNDARY: usize = 70;

/// Maximum bytes of all text fields in a form, stored in the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct TextLimit(pub usize);

impl TextLimit {
    /// Returns the limit of a request.
    pub fn of(head: &Head) -> Self {
        head.extensions.get().copied().unwrap_or(Self(usize::MAX))
    }
}

/// Returns the boundary of a multipart form, or `None` if the body is not a multipart form or its boundary is invalid.
pub fn boundary(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(content_type)
        .ok()
        .filter(|boundary| (1..=BOUNDARY).contains(&boundary.len()))
}

/// The parts of a form, in order.
#[derive(Debug)]
pub struct Parts {
    multipart: multer::Multipart<'static>,
    meter: Arc<Meter>,
    texts_left: usize,
    memory_charge: Option<BodyCharge>,
}

impl Parts {
    /// Parses a form whose text fields share one limit. The consumer limits the files, and releases their memory in `memory_charge`.
    pub fn with_files(body: Body, boundary: &str, TextLimit(texts): TextLimit, memory_charge: Option<BodyCharge>) -> Self {
        Self {
            memory_charge,
            ..Self::metered(body, boundary, texts, usize::MAX)
        }
    }

    /// Parses a form with one limit for everything, including files.
    pub fn whole(body: Body, boundary: &str, TextLimit(bytes): TextLimit) -> Self {
        Self::metered(body, boundary, bytes, bytes)
    }

    fn metered(body: Body, boundary: &str, texts_left: usize, body_left: usize) -> Self {
        let meter = Arc::new(Meter::default());
        let stream = Metered {
            body: body.into_data_stream(),
            rest: Bytes::new(),
            body_left,
            meter: Arc::clone(&meter),
        };
        Self {
            multipart: multer::Multipart::new(stream, boundary),
            meter,
            texts_left,
            memory_charge: None,
        }
    }

    /// Returns the next part, or `None` at the end of the form. The previous part must have been read to its end. Not cancel safe.
    ///
    /// # Errors
    /// Returns 400 if the body is not a valid form or a part's header is too long, and 413 if the form exceeds its limit.
    pub async fn next(&mut self) -> Result<Option<Part<'_>>, ApiError> {
        self.meter.begin_result();
        let field = self.multipart.next_field().await.map_err(|error| form_error(&error))?;
        Ok(field.map(|field| Part {
            field,
            meter: Arc::clone(&self.meter),
            texts_left: &mut self.texts_left,
            memory_charge: self.memory_charge.as_ref(),
        }))
    }
}

/// A part of a form.
#[derive(Debug)]
pub struct Part<'a> {
    field: multer::Field<'static>,
    meter: Arc<Meter>,
    texts_left: &'a mut usize,
    memory_charge: Option<&'a BodyCharge>,
}

impl Part<'_> {
    /// Returns the name of the form field; empty if it has none.
    pub fn name(&self) -> String {
        self.field.name().unwrap_or_default().to_owned()
    }

    /// Whether the part is a file. Browsers send an empty file field with an empty file name.
    pub fn is_file(&self) -> bool {
        self.field.file_name().is_some_and(|name| !name.is_empty())
    }

    /// Returns the file name; empty if it has none.
    pub fn file_name(&self) -> String {
        self.field.file_name().unwrap_or_default().to_owned()
    }

    /// Returns the declared content type; empty if it has none.
    pub fn content_type(&self) -> String {
        self.field.content_type().map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the next chunk of the content, or `None` at its end. A chunk has at most 32 KiB plus the length of a boundary.
    ///
    /// # Errors
    /// As for [`Parts::next`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.meter.begin_result();
        self.field.chunk().await.map_err(|error| form_error(&error))
    }

    /// Releases the memory of a chunk that was stored or dropped.
    pub fn release(&self, bytes: usize) {
        if let Some(BodyCharge(charge)) = self.memory_charge {
            charge.release(bytes);
        }
    }

    /// Reads the rest of the content and discards it.
    ///
    /// # Errors
    /// As for [`Parts::next`].
    pub async fn skip(&mut self) -> Result<(), ApiError> {
        while let Some(chunk) = self.chunk().await? {
            self.release(chunk.len());
        }
        Ok(())
    }

    /// Reads the content as text.
    ///
    /// # Errors
    /// As for [`Parts::next`]; also 413 if the form's text fields exceed their limit, and 400 if the content is not UTF-8.
    pub async fn text(&mut self) -> Result<String, ApiError> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            let too_long = || ApiError::status_error(StatusCode::PAYLOAD_TOO_LARGE);
            *self.texts_left = self.texts_left.checked_sub(chunk.len()).ok_or_else(too_long)?;
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).map_err(|_| ApiError::status_error(StatusCode::BAD_REQUEST))
    }
}

/// Controls how much the stream returns. The parser polls the stream before it searches its buffer, so a poll alone does not mean that it
/// needs more.
#[derive(Debug)]
struct Meter {
    /// Number of bytes that may still be passed to the parser. Not reset for a new result, because the parser's buffer may still hold
    /// earlier bytes.
    left: AtomicUsize,
    /// Whether the parser has polled with `left == 0` since the last grant or result, and so has searched its full buffer.
    has_searched_buffer: AtomicBool,
    /// Whether another [`READ_AHEAD`] bytes were granted for the current result.
    is_granted: AtomicBool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            left: AtomicUsize::new(READ_AHEAD),
            has_searched_buffer: AtomicBool::new(false),
            is_granted: AtomicBool::new(false),
        }
    }
}

/// How the stream responds when the parser polls it.
enum PollAction {
    /// Return at most this many bytes.
    Give(usize),
    /// Return `Pending` so that the parser searches its buffer first.
    Wait,
    /// Fail: one result needs more than the parser may buffer.
    Refuse,
}

impl Meter {
    /// Records that the parser starts to look for its next result.
    fn begin_result(&self) {
        self.has_searched_buffer.store(false, Ordering::Relaxed);
        self.is_granted.store(false, Ordering::Relaxed);
    }

    fn poll_action(&self) -> PollAction {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            return PollAction::Give(left);
        }
        if !parley_fault::is_on(Protection::MultipartHeaders) {
            return PollAction::Give(READ_AHEAD);
        }
        if !self.has_searched_buffer.swap(true, Ordering::Relaxed) {
            return PollAction::Wait;
        }
        if self.is_granted.swap(true, Ordering::Relaxed) {
            return PollAction::Refuse;
        }
        self.has_searched_buffer.store(false, Ordering::Relaxed);
        self.left.store(READ_AHEAD, Ordering::Relaxed);
        PollAction::Give(READ_AHEAD)
    }

    fn granted(&self, bytes: usize) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// The metered body.
struct Metered {
    body: BodyDataStream,
    rest: Bytes,
    body_left: usize,
    meter: Arc<Meter>,
}

impl Stream for Metered {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let most = match this.meter.poll_action() {
            PollAction::Give(most) => most,
            PollAction::Wait => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            PollAction::Refuse => return Poll::Ready(Some(Err(StreamError::Header))),
        };
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_next(cx)) {
                Some(Ok(chunk)) => this.rest = chunk,
                Some(Err(error)) => return Poll::Ready(Some(Err(StreamError::Body(error)))),
                None => return Poll::Ready(None),
            }
            match this.body_left.checked_sub(this.rest.len()) {
                Some(left) => this.body_left = left,
                None => return Poll::Ready(Some(Err(StreamError::Size))),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(most));
        this.meter.granted(piece.len());
        Poll::Ready(Some(Ok(piece)))
    }
}

/// Why the stream fails.
#[derive(Debug)]
enum StreamError {
    Header,
    Size,
    Body(axum::Error),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str(TooLarge::PART_HEADER.0),
            Self::Size => f.write_str("the form is too large"),
            Self::Body(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

fn form_error(error: &multer::Error) -> ApiError {
    if let multer::Error::StreamReadFailed(source) = error {
        match source.downcast_ref() {
            Some(StreamError::Header) => return ApiError::limit_exceeded(TooLarge::PART_HEADER),
            Some(StreamError::Size) => return ApiError::status_error(StatusCode::PAYLOAD_TOO_LARGE),
            _ => {}
        }
    }
    tracing::debug!(%error, "failed to read a form");
    ApiError::status_error(StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests;
