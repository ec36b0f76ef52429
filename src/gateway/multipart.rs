//! A reader of `multipart/form-data` whose buffers are bounded.
//!
//! `multer` buffers whatever its stream gives until it finds a boundary or the end of a part's header, and searches the whole buffer again
//! for each piece. So its stream is metered: between two results (a part, a piece of a part) it gets 16 KiB, and a preamble or part header
//! that needs more ends the form. What is read ahead of a slow consumer is bounded by the same number.

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

use super::{body_memory::Held, error::Failure, tree_budget::TooLarge};
use crate::fault::{self, Protection};

/// Bytes that may be buffered between two results.
const AHEAD: usize = 16 * 1024;

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
        self.meter.refill();
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

    /// The next piece of the content; none at its end. It has at most 48 KiB, and as much again for each part before: every result lets the
    /// parser read 16 KiB ahead, whether or not it has used up what it read before.
    ///
    /// # Errors
    /// As [`Parts::next`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        self.meter.refill();
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

/// What the stream may give until the next result.
#[derive(Debug)]
struct Meter {
    left: AtomicUsize,
    /// The stream was asked for more than that, and the reader has had its turn with what it got.
    is_used_up: AtomicBool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            left: AtomicUsize::new(AHEAD),
            is_used_up: AtomicBool::new(false),
        }
    }
}

impl Meter {
    fn refill(&self) {
        self.left.store(AHEAD, Ordering::Relaxed);
        self.is_used_up.store(false, Ordering::Relaxed);
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
        let left = this.meter.left.load(Ordering::Relaxed);
        if left == 0 && fault::is_on(Protection::MultipartAhead) {
            // Once, the reader gets a turn with what it has: inside of a part's content that always gives a piece. Asking again without
            // one means that it still searches.
            if this.meter.is_used_up.swap(true, Ordering::Relaxed) {
                return Poll::Ready(Some(Err(Refusal::Header)));
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
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
        let piece = this.rest.split_to(this.rest.len().min(if left == 0 { AHEAD } else { left }));
        this.meter.left.store(left.saturating_sub(piece.len()), Ordering::Relaxed);
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
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    /// Names and contents of a form whose body comes in pieces of `size` bytes.
    async fn read(body: &[u8], size: usize, limit: usize) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let pieces: Vec<_> = body
            .chunks(size)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut parts = Parts::whole(Body::from_stream(stream::iter(pieces)), "x", TextLimit(limit));
        let mut found = Vec::new();
        let mut read_ahead = 3 * AHEAD;
        while let Some(mut part) = parts.next().await? {
            let mut content = Vec::new();
            while let Some(chunk) = part.chunk().await? {
                assert!(chunk.len() <= read_ahead, "{}", chunk.len());
                content.extend_from_slice(&chunk);
            }
            found.push((part.name(), content));
            read_ahead += 3 * AHEAD;
        }
        Ok(found)
    }

    fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in parts {
            body.extend_from_slice(format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--x--\r\n");
        body
    }

    /// S-02: a preamble and a part header without an end.
    #[tokio::test]
    async fn unbounded_preambles_and_headers_are_refused() {
        let header = "--x\r\nContent-Disposition: form-data; name=\"";
        for start in ["", header] {
            let body = format!("{start}{}", "a".repeat(200_000));
            for size in [7, 1000, 200_000] {
                let refused = read(body.as_bytes(), size, usize::MAX).await;
                assert_eq!(refused, Err(Failure::beyond(TooLarge::PART_HEADER)), "{start:?} {size}");
            }
        }
    }

    #[tokio::test]
    async fn the_whole_form_is_limited() {
        let body = form(&[("a", &[b'x'; 5000])]);
        assert!(read(&body, 100, body.len()).await.is_ok());
        let refused = read(&body, 100, body.len() - 1).await;
        assert_eq!(refused, Err(Failure::fault(StatusCode::PAYLOAD_TOO_LARGE)));
    }

    #[test]
    fn boundaries_are_limited() {
        let of = |boundary: &str| {
            let mut headers = HeaderMap::new();
            let value = format!("multipart/form-data; boundary={boundary}");
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            super::boundary(&headers)
        };
        assert_eq!(of("x").as_deref(), Some("x"));
        assert_eq!(of(&"x".repeat(71)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However a form is cut into pieces, every part comes whole; contents hold what looks like boundaries.
        #[test]
        fn forms_come_whole(
            contents in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"\r\n-xy"[..]), 0..40), 0..5),
            long in 0_usize..60_000,
            size in 1_usize..40_000,
        ) {
            let mut contents: Vec<Vec<u8>> = contents
                .into_iter()
                .filter(|content| !content.windows(5).any(|five| five == b"\r\n--x") && !content.starts_with(b"--x"))
                .collect();
            contents.push(b"\r\n-".repeat(long / 3));
            let parts: Vec<(&str, &[u8])> = contents.iter().map(|content| ("n", content.as_slice())).collect();
            let body = form(&parts);
            let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read(&body, size, usize::MAX)).unwrap();
            prop_assert_eq!(found.into_iter().map(|(_, content)| content).collect::<Vec<_>>(), contents);
        }
    }
}
