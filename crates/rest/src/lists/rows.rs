//! Lists of the JSON API, which keep the row counts of the product whatever the rows weigh.
//!
//! The service cuts pages by bytes. An answer that needs more than one page is written page by page: a page is asked for once the client has
//! taken what was written before, so a client that does not read holds one page. The first page is fetched before the answer begins, so the
//! status is right; a failure after that aborts the body, which every HTTP client reports.

use std::io;

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::{Answer, errors::Failure, json};

/// Rows of one page, and the token of the next page; empty: there is none.
pub type Page = (Vec<Json>, String);

/// Rows to ask for in one page of a list without an end.
const AT_ONCE: usize = 1000;

/// A list without pages: `frame` puts the rows where they belong, `fetch` asks for the page of a token.
///
/// # Errors
/// The service's refusal of the first page.
pub async fn whole<R>(frame: impl FnOnce(Json) -> Json, mut fetch: impl FnMut(String) -> R + Send + 'static) -> Answer
where
    R: Future<Output = Result<Page, Failure>> + Send + 'static,
{
    let first = fetch(String::new()).await?;
    Ok(go_on(first, usize::MAX, frame, move |token, _| fetch(token)))
}

/// A list of at most `limit` rows, of which the first page is there: `fetch` asks for the page of a token with at most so many rows.
pub fn go_on<R>(
    (rows, token): Page,
    limit: usize,
    frame: impl FnOnce(Json) -> Json,
    fetch: impl FnMut(String, usize) -> R + Send + 'static,
) -> Response
where
    R: Future<Output = Result<Page, Failure>> + Send + 'static,
{
    if token.is_empty() || rows.len() >= limit {
        let rows = rows.into_iter().take(limit).collect();
        return json::ok(&frame(Json::Array(rows)));
    }
    let left = limit - rows.len();
    streamed(frame, rows, Pages { token, left, fetch })
}

/// A list whose pages go back from its end: the first page, which is there, has its last rows. At most `limit` rows, in their order.
///
/// # Errors
/// The service's refusal of a page.
pub async fn backwards<R>(
    (rows, token): Page,
    limit: usize,
    frame: impl FnOnce(Json) -> Json,
    mut fetch: impl FnMut(String, usize) -> R + Send + 'static,
) -> Answer
where
    R: Future<Output = Result<Page, Failure>> + Send + 'static,
{
    if token.is_empty() || rows.len() >= limit {
        return Ok(json::ok(&frame(Json::Array(rows))));
    }
    // The answer begins with the rows of the last page. Holding all pages until then would hold the whole list, so where they begin is found
    // first, and each is fetched again when its turn comes.
    let (mut pages, mut token, mut left) = (Vec::new(), token, limit - rows.len());
    while !token.is_empty() && left > 0 {
        let page = fetch(token.clone(), left).await?;
        pages.push((token, left));
        left = left.saturating_sub(page.0.len());
        token = page.1;
    }
    let source = Back {
        pages,
        newest: Some(rows),
        fetch,
    };
    Ok(streamed(frame, Vec::new(), source))
}

/// Where further rows come from.
trait Source: Send + 'static {
    /// The rows of the next page; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Json>>, Failure>> + Send;
}

struct Pages<F> {
    token: String,
    left: usize,
    fetch: F,
}

impl<F, R> Source for Pages<F>
where
    F: FnMut(String, usize) -> R + Send + 'static,
    R: Future<Output = Result<Page, Failure>> + Send + 'static,
{
    async fn next(&mut self) -> Result<Option<Vec<Json>>, Failure> {
        if self.token.is_empty() || self.left == 0 {
            return Ok(None);
        }
        let page = (self.fetch)(std::mem::take(&mut self.token), self.left.min(AT_ONCE));
        let (mut rows, token) = page.await?;
        rows.truncate(self.left);
        self.left -= rows.len();
        self.token = token;
        Ok(Some(rows))
    }
}

struct Back<F> {
    /// Tokens of the pages, and how many rows were asked for; the page of the oldest rows comes last.
    pages: Vec<(String, usize)>,
    newest: Option<Vec<Json>>,
    fetch: F,
}

impl<F, R> Source for Back<F>
where
    F: FnMut(String, usize) -> R + Send + 'static,
    R: Future<Output = Result<Page, Failure>> + Send + 'static,
{
    async fn next(&mut self) -> Result<Option<Vec<Json>>, Failure> {
        match self.pages.pop() {
            Some((token, size)) => Ok(Some((self.fetch)(token, size).await?.0)),
            None => Ok(self.newest.take()),
        }
    }
}

/// A list that is one of several in an answer: what [`go_on`] takes.
pub struct Section {
    first: Vec<Json>,
    further: Rows,
    has_all: bool,
}

impl Section {
    /// A list of at most `limit` rows, of which the first page is there.
    pub fn new<R>((rows, token): Page, limit: usize, fetch: impl FnMut(String, usize) -> R + Send + 'static) -> Self
    where
        R: Future<Output = Result<Page, Failure>> + Send + 'static,
    {
        let first: Vec<Json> = rows.into_iter().take(limit).collect();
        let left = limit - first.len();
        Self {
            has_all: token.is_empty() || left == 0,
            first,
            further: further(Pages { token, left, fetch }),
        }
    }
}

/// An answer with several lists, each as [`go_on`] writes one: `frame` puts their rows where they belong. They are written in the order in
/// which they stand in the text of the answer, so a client that does not read holds one further page at most.
pub fn sections<const N: usize>(sections: [Section; N], frame: impl FnOnce([Json; N]) -> Json) -> Response {
    if sections.iter().all(|section| section.has_all) {
        return json::ok(&frame(sections.map(|section| Json::Array(section.first))));
    }
    written(sections.map(|section| (section.first, section.further)), frame)
}

/// Pages of rows, each fetched when it is asked for.
type Rows = BoxStream<'static, Result<Vec<Json>, Failure>>;

fn further(source: impl Source) -> Rows {
    let pages = stream::unfold(source, |mut source| async move {
        let page = source.next().await.transpose()?;
        Some((page, source))
    });
    Box::pin(pages)
}

/// The text of a row list: its rows with commas between them, behind one if other rows came before.
fn text(rows: &[Json], follows: &mut bool) -> String {
    let mut text = String::new();
    for row in rows {
        if std::mem::replace(follows, true) {
            text.push(',');
        }
        text.push_str(&row.to_string());
    }
    text
}

fn written<const N: usize>(lists: [(Vec<Json>, Rows); N], frame: impl FnOnce([Json; N]) -> Json) -> Response {
    // Rows are written in place of texts that nobody can know.
    let marks: [String; N] = std::array::from_fn(|_| Uuid::new_v4().to_string());
    let framed = frame(marks.each_ref().map(|mark| json!([mark]))).to_string();
    let mut places: Vec<_> = marks
        .iter()
        .zip(lists)
        .filter_map(|(mark, list)| Some((framed.find(mark.as_str())?, list)))
        .collect();
    places.sort_by_key(|(at, _)| *at);
    // Each mark stands between quotes.
    let length = marks.first().map_or(0, String::len) + 1;
    let mut end = 0;
    let mut parts = Vec::with_capacity(N);
    for (at, list) in places {
        parts.push((framed[end..at - 1].to_owned(), list));
        end = at + length;
    }
    let after = framed[end..].to_owned();
    let chunks = stream::iter(parts).flat_map(|(before, (first, further))| {
        let mut follows = false;
        let first = before + &text(&first, &mut follows);
        let further = further.map(move |page| page.map(|rows| text(&rows, &mut follows)));
        stream::iter([Ok(first)]).chain(further)
    });
    let chunks = chunks.chain(stream::iter([Ok(after)])).map(|chunk| match chunk {
        Ok(text) => Ok(Bytes::from(text)),
        Err(failure) => {
            tracing::warn!(?failure, "a list broke off after its answer had begun");
            Err(io::Error::other("the list broke off"))
        }
    });
    json::of(Body::from_stream(chunks))
}

fn streamed(frame: impl FnOnce(Json) -> Json, first: Vec<Json>, source: impl Source) -> Response {
    written([(first, further(source))], |[rows]| frame(rows))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    async fn read(response: Response) -> Result<Json, axum::Error> {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await?;
        Ok(serde_json::from_slice(&bytes).expect("whole JSON"))
    }

    /// A page of rows 0 to `count` that begins at the row of the token.
    fn page(token: &str, size: usize, count: usize) -> Page {
        let from: usize = token.parse().unwrap_or_default();
        let to = (from + size).min(count);
        let next = if to < count { to.to_string() } else { String::new() };
        ((from..to).map(|row| json!({ "row": row })).collect(), next)
    }

    /// A page that goes back from the row of the token.
    fn page_back(token: &str, size: usize, count: usize) -> Page {
        let to: usize = token.parse().unwrap_or(count);
        let from = to.saturating_sub(size);
        let next = if from > 0 { from.to_string() } else { String::new() };
        ((from..to).map(|row| json!({ "row": row })).collect(), next)
    }

    proptest! {
        #[test]
        fn every_row_is_written_once_in_order(count in 0..40_usize, size in 1..12_usize, limit in 1..50_usize) {
            let frame = |rows| json!({ "meta": { "count": 3, "name": "]\"" }, "payload": rows });
            let forward = run(async {
                let answer = go_on(page("", size, count), limit, frame, move |token, left| {
                    std::future::ready(Ok(page(&token, size.min(left), count)))
                });
                read(answer).await.unwrap()
            });
            let expected: Vec<Json> = (0..count.min(limit)).map(|row| json!({ "row": row })).collect();
            prop_assert_eq!(forward, frame(Json::Array(expected)));
            let size = size.min(limit);
            let back = run(async {
                let fetch = move |token: String, left: usize| std::future::ready(Ok(page_back(&token, size.min(left), count)));
                read(backwards(page_back("", size, count), limit, frame, fetch).await.unwrap()).await.unwrap()
            });
            let expected: Vec<Json> = (count.saturating_sub(limit)..count).map(|row| json!({ "row": row })).collect();
            prop_assert_eq!(back, frame(Json::Array(expected)));
        }
    }

    proptest! {
        #[test]
        fn sections_have_their_rows_each(counts in prop::array::uniform3(0..30_usize), size in 1..12_usize, limit in 1..20_usize) {
            // The lists stand in another order in the text than they are given.
            let frame = |[a, b, c]: [Json; 3]| json!({ "b": a, "c": { "n": b }, "a": c });
            let sections = counts.map(|count| {
                Section::new(page("", size, count), limit, move |token, left| {
                    std::future::ready(Ok(page(&token, size.min(left), count)))
                })
            });
            let written = run(async { read(super::sections(sections, frame)).await.unwrap() });
            let expected = counts.map(|count| (0..count.min(limit)).map(|row| json!({ "row": row })).collect::<Json>());
            prop_assert_eq!(written, frame(expected));
        }
    }

    #[test]
    fn a_failure_after_the_start_breaks_the_body() {
        let first = (vec![json!(1)], "next".to_owned());
        let answer = go_on(
            first,
            usize::MAX,
            |rows| rows,
            |_, _| std::future::ready(Err(Failure::fault(StatusCode::SERVICE_UNAVAILABLE))),
        );
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(run(read(answer)).is_err());
    }

    #[test]
    fn a_refused_first_page_is_the_answer() {
        let refused = || std::future::ready(Err(Failure::fault(StatusCode::FORBIDDEN)));
        assert!(run(whole(|rows| rows, move |_| refused())).is_err());
    }
}
