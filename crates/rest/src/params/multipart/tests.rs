//! Forms in chunks of any size: what is parsed, and what is buffered meanwhile.

use futures_util::{StreamExt as _, stream};
use proptest::prelude::*;

use super::*;

/// Maximum bytes in the parser's buffer.
const HELD: usize = 2 * AHEAD + BOUNDARY + 4;

/// Names and contents of a form whose body arrives in chunks of `size` bytes. Each chunk is taken from the body only when it is needed.
async fn read(body: &[u8], size: usize, limit: usize) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let pieces: Vec<_> = body.chunks(size).map(Bytes::copy_from_slice).collect();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let pieces = stream::iter(pieces).map(move |piece| {
        counted.fetch_add(piece.len(), Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece)
    });
    let mut parts = Parts::whole(Body::from_stream(pieces), "x", TextLimit(limit));
    let (mut found, mut used) = (Vec::new(), 0);
    while let Some(mut part) = parts.next().await? {
        used += format!("--x\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n", part.name()).len();
        let mut content = Vec::new();
        while let Some(chunk) = part.chunk().await? {
            assert!(chunk.len() <= HELD, "{}", chunk.len());
            used += chunk.len();
            // One chunk of the body may be waiting in front of the parser.
            let held = taken.load(Ordering::Relaxed) - used;
            assert!(held <= HELD + size, "{held} bytes are held after {} parts", found.len());
            content.extend_from_slice(&chunk);
        }
        used += 2;
        found.push((part.name(), content));
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

/// A preamble and a part header without an end.
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

/// Many small parts before a large one: the buffer does not grow with the number of parts, which `read` checks.
#[tokio::test]
async fn many_parts_are_not_read_far_ahead() {
    let large = vec![b'y'; 3_000_000];
    let mut parts: Vec<(&str, &[u8])> = vec![("n", b"z"); 2000];
    parts.push(("large", &large));
    let body = form(&parts);
    for size in [1000, 5000, 60_000] {
        let found = read(&body, size, usize::MAX).await.unwrap();
        assert_eq!((found.len(), found[2000].1.len()), (2001, large.len()), "{size}");
    }
}

/// A header is accepted at any offset within the buffer up to `AHEAD` bytes; one of twice that length is rejected.
#[tokio::test]
async fn long_headers_are_taken_wherever_they_begin() {
    for before in [0, 1, 5000, AHEAD - 100, AHEAD, 3 * AHEAD / 2] {
        let content = vec![b'y'; before];
        let of_length = |length: usize| {
            let name = "n".repeat(length - "--x\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n".len());
            form(&[("a", content.as_slice()), (&name, b"z"), ("b", b"z")])
        };
        for size in [700, AHEAD, 100_000] {
            let found = read(&of_length(AHEAD), size, usize::MAX).await.unwrap();
            assert_eq!(found.len(), 3, "{before} {size}");
            let refused = read(&of_length(2 * AHEAD + 100), size, usize::MAX).await;
            assert_eq!(refused, Err(Failure::beyond(TooLarge::PART_HEADER)), "{before} {size}");
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

    /// Every part is read completely, regardless of how the form is split into chunks, even if contents resemble boundaries.
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
