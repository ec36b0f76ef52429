//! A reader of `multipart/form-data` whose buffers are bounded.
//!
//! `multer` buffers whatever its stream gives until it finds a boundary or the end of a part's header, and searches the whole buffer again
//! for each piece. So its stream is metered: it gets 16 KiB more only when the parser cannot give a result (a part, a piece of a part) from
//! what it holds, once for each result; a preamble or part header that needs more ends the form. What the parser holds then belongs to that
//! one result, and came with the 16 KiB before. So it never holds more than 32 KiB and the length of a boundary, however many parts a form has.

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
    errors::Failure,
    params::{held_memory::Held, tree_budget::TooLarge},
};

/// Bytes that the parser gets at a time.
const AHEAD: usize = 16 * 1024;

/// Files in one form, at most: the service's own bound is lower, but it only counts what a message is given.
pub const FILES: usize = 100;

/// Characters of a boundary, by RFC 2046, section 5.1.1.
const BOUNDARY: usize = 70;

/// Bytes of all texts in a form, at most; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct TextLimit(pub usize);

impl TextLimit {
    /// The limit that a request carries.
    pub fn of(head: &Head) -> Self {
        head.extensions.get().copied().unwrap_or(Self(usize::MAX))
    }
}

/// The boundary that the headers name, if the body is a form in parts and the boundary is one.
pub fn boundary(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(content_type)
        .ok()
        .filter(|boundary| (1..=BOUNDARY).contains(&boundary.len()))
}

/// The parts of a form, one after another.
#[derive(Debug)]
pub struct Parts {
    multipart: multer::Multipart<'static>,
    meter: Arc<Meter>,
    texts_left: usize,
    held: Option<Held>,
}

impl Parts {
    /// A form whose texts are limited together; its files are limited by whoever takes them, and give back what they `held`.
    pub fn with_files(body: Body, boundary: &str, TextLimit(texts): TextLimit, held: Option<Held>) -> Self {
        Self {
            held,
            ..Self::metered(body, boundary, texts, usize::MAX)
        }
    }

    /// A form that is limited as a whole, files included.
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
            held: None,
        }
    }

    /// The next part; none at the end of the form. The part before must have been read to its end. Not cancel safe.
    ///
    /// # Errors
    /// 400 for what is not a form, or is beyond the limit of a part's header; 413 beyond the limit of the whole form.
    pub async fn next(&mut self) -> Result<Option<Part<'_>>, Failure> {
        self.meter.begin_result();
        let field = self.multipart.next_field().await.map_err(|error| refused(&error))?;
        Ok(field.map(|field| Part {
            field,
            meter: Arc::clone(&self.meter),
            texts_left: &mut self.texts_left,
            held: self.held.as_ref(),
        }))
    }
}

/// One part of a form.
#[derive(Debug)]
pub struct Part<'a> {
    field: multer::Field<'static>,
    meter: Arc<Meter>,
    texts_left: &'a mut usize,
    held: Option<&'a Held>,
}

impl Part<'_> {
    /// The name of the form field; empty if it has none.
    pub fn name(&self) -> String {
        self.field.name().unwrap_or_default().to_owned()
    }

    /// Whether it carries a file. A file field left empty carries an empty name.
    pub fn is_file(&self) -> bool {
        self.field.file_name().is_some_and(|name| !name.is_empty())
    }

    /// The name of the file; empty if it has none.
    pub fn file_name(&self) -> String {
        self.field.file_name().unwrap_or_default().to_owned()
    }

    /// The type of the content, as the part says; empty if it does not.
    pub fn content_type(&self) -> String {
        self.field.content_type().map(ToString::to_string).unwrap_or_default()
    }

    /// The next piece of the content; none at its end. It has at most 32 KiB and the length of a boundary.
    ///
    /// # Errors
    /// As [`Parts::next`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        self.meter.begin_result();
        self.field.chunk().await.map_err(|error| refused(&error))
    }

    /// Gives back the memory of a piece that was stored, or is not wanted.
    pub fn release(&self, bytes: usize) {
        if let Some(Held(charge)) = self.held {
            charge.release(bytes);
        }
    }

    /// Reads the rest of the content, and drops it.
    ///
    /// # Errors
    /// As [`Parts::next`].
    pub async fn skip(&mut self) -> Result<(), Failure> {
        while let Some(chunk) = self.chunk().await? {
            self.release(chunk.len());
        }
        Ok(())
    }

    /// The content as text.
    ///
    /// # Errors
    /// As [`Parts::next`]; 413 beyond the limit of all texts; 400 for what is not UTF-8.
    pub async fn text(&mut self) -> Result<String, Failure> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            let too_long = || Failure::fault(StatusCode::PAYLOAD_TOO_LARGE);
            *self.texts_left = self.texts_left.checked_sub(chunk.len()).ok_or_else(too_long)?;
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).map_err(|_| Failure::fault(StatusCode::BAD_REQUEST))
    }
}

/// What the stream may give. The parser polls it before it looks at what it holds, so a poll alone does not say that it needs more.
#[derive(Debug)]
struct Meter {
    /// Bytes that the parser may still get. Not reset with a result: the parser holds what it has not used up.
    left: AtomicUsize,
    /// Since the last grant, or the last result, the parser was polled with all that it may hold.
    has_had_turn: AtomicBool,
    /// More was granted for the present result.
    is_granted: AtomicBool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            left: AtomicUsize::new(AHEAD),
            has_had_turn: AtomicBool::new(false),
            is_granted: AtomicBool::new(false),
        }
    }
}

/// What the stream does when the parser asks.
enum Turn {
    /// Gives at most so many bytes.
    Give(usize),
    /// Waits until the parser has looked at what it holds.
    Wait,
    /// Ends the form: the parser needs more for one result than it may have.
    Refuse,
}

impl Meter {
    /// The parser begins to look for its next result.
    fn begin_result(&self) {
        self.has_had_turn.store(false, Ordering::Relaxed);
        self.is_granted.store(false, Ordering::Relaxed);
    }

    fn turn(&self) -> Turn {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            return Turn::Give(left);
        }
        if !parley_fault::is_on(Protection::MultipartAhead) {
            return Turn::Give(AHEAD);
        }
        if !self.has_had_turn.swap(true, Ordering::Relaxed) {
            return Turn::Wait;
        }
        if self.is_granted.swap(true, Ordering::Relaxed) {
            return Turn::Refuse;
        }
        self.has_had_turn.store(false, Ordering::Relaxed);
        self.left.store(AHEAD, Ordering::Relaxed);
        Turn::Give(AHEAD)
    }

    fn given(&self, bytes: usize) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// The body, as far as it is metered.
struct Metered {
    body: BodyDataStream,
    rest: Bytes,
    body_left: usize,
    meter: Arc<Meter>,
}

impl Stream for Metered {
    type Item = Result<Bytes, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let most = match this.meter.turn() {
            Turn::Give(most) => most,
            Turn::Wait => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Turn::Refuse => return Poll::Ready(Some(Err(Refusal::Header))),
        };
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_next(cx)) {
                Some(Ok(chunk)) => this.rest = chunk,
                Some(Err(error)) => return Poll::Ready(Some(Err(Refusal::Body(error)))),
                None => return Poll::Ready(None),
            }
            match this.body_left.checked_sub(this.rest.len()) {
                Some(left) => this.body_left = left,
                None => return Poll::Ready(Some(Err(Refusal::Size))),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(most));
        this.meter.given(piece.len());
        Poll::Ready(Some(Ok(piece)))
    }
}

/// Why the stream ends early.
#[derive(Debug)]
enum Refusal {
    Header,
    Size,
    Body(axum::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str(TooLarge::PART_HEADER.0),
            Self::Size => f.write_str("the form is too large"),
            Self::Body(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

fn refused(error: &multer::Error) -> Failure {
    if let multer::Error::StreamReadFailed(source) = error {
        match source.downcast_ref() {
            Some(Refusal::Header) => return Failure::beyond(TooLarge::PART_HEADER),
            Some(Refusal::Size) => return Failure::fault(StatusCode::PAYLOAD_TOO_LARGE),
            _ => {}
        }
    }
    tracing::debug!(%error, "a form could not be read");
    Failure::fault(StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests;
