//! Lists of the JSON API, which return as many rows as Chatwoot does, regardless of their size.
//!
//! The service limits pages by bytes. A response that needs more than one page is streamed page by page: the next page is requested once
//! the client has read the previous ones, so at most one page is in memory for a client that does not read. The first page is fetched
//! before the response begins, so the status is correct. A later failure aborts the body, which every HTTP client reports.

use std::io;

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use parley_proto::rpc::{PageResponse, PagedRequest, UnaryRequest};
use serde_json::{Value as Json, json};
use tonic::Status;
use uuid::Uuid;

use crate::{ApiResult, call::Call, errors::ApiError, json};

/// The rows of one page, and the token of the next page (empty if there is none).
pub type Page = (Vec<Json>, String);

/// Number of rows to request per page of an unlimited list.
const ROWS_PER_FETCH: usize = 1000;

/// Responds with a complete list, without pagination. `frame` wraps the rows, and `fetch` requests the page of a token.
///
/// # Errors
/// Returns the error of the first page.
pub async fn all_pages<R>(frame: impl FnOnce(Json) -> Json, mut fetch: impl FnMut(String) -> R + Send + 'static) -> ApiResult
where
    R: Future<Output = Result<Page, ApiError>> + Send + 'static,
{
    let first = fetch(String::new()).await?;
    Ok(paginated(first, usize::MAX, frame, move |token, _| fetch(token)))
}

/// A list without pagination of all rows that a request lists. `frame` wraps the rows, `json` converts one.
///
/// # Errors
/// Returns the error of the first page.
pub async fn all_rows<R>(
    call: Call,
    request: R,
    frame: impl FnOnce(Json) -> Json,
    json: fn(&<R::Response as PageResponse>::Row) -> Json,
) -> ApiResult
where
    R: PagedRequest + UnaryRequest<Response: PageResponse>,
{
    all_rows_or(ApiError::from, call, request, frame, json).await
}

/// Like [`all_rows`], with the conversion of errors.
///
/// # Errors
/// Returns the error of the first page.
pub async fn all_rows_or<R>(
    refused: fn(Status) -> ApiError,
    call: Call,
    request: R,
    frame: impl FnOnce(Json) -> Json,
    json: fn(&<R::Response as PageResponse>::Row) -> Json,
) -> ApiResult
where
    R: PagedRequest + UnaryRequest<Response: PageResponse>,
{
    all_pages(frame, move |token| {
        let mut request = request.clone();
        request.set_page(request.page_size(), token);
        let page = call.send(request);
        async move {
            let (rows, token) = page.await.map_err(refused)?.into_page();
            Ok((rows.iter().map(json).collect(), token))
        }
    })
    .await
}

/// Responds with at most `limit` rows of a list whose first page has been fetched. `fetch` requests the page of a token with at most the
/// given number of rows.
pub fn paginated<R>(
    (rows, token): Page,
    limit: usize,
    frame: impl FnOnce(Json) -> Json,
    fetch: impl FnMut(String, usize) -> R + Send + 'static,
) -> Response
where
    R: Future<Output = Result<Page, ApiError>> + Send + 'static,
{
    if token.is_empty() || rows.len() >= limit {
        let rows = rows.into_iter().take(limit).collect();
        return json::ok(&frame(Json::Array(rows)));
    }
    let left = limit - rows.len();
    stream_list(frame, rows, Pages { token, left, fetch })
}

/// Responds with at most `limit` rows of a list whose pages go backwards: the first page, which has been fetched, contains the last rows.
/// The response contains the rows in ascending order.
///
/// # Errors
/// Returns the error of a page that is fetched to locate the first rows.
pub async fn backwards<R>(
    (rows, token): Page,
    limit: usize,
    frame: impl FnOnce(Json) -> Json,
    mut fetch: impl FnMut(String, usize) -> R + Send + 'static,
) -> ApiResult
where
    R: Future<Output = Result<Page, ApiError>> + Send + 'static,
{
    if token.is_empty() || rows.len() >= limit {
        return Ok(json::ok(&frame(Json::Array(rows))));
    }
    // The response begins with the rows of the last page. Keeping all pages until then would hold the whole list in memory, so the tokens
    // of all pages are determined first, and each page is fetched again when it is written.
    let (mut pages, mut token, mut left) = (Vec::new(), token, limit - rows.len());
    while !token.is_empty() && left > 0 {
        let page = fetch(token.clone(), left).await?;
        pages.push((token, left));
        left = left.saturating_sub(page.0.len());
        token = page.1;
    }
    let source = BackwardPages {
        pages,
        newest: Some(rows),
        fetch,
    };
    Ok(stream_list(frame, Vec::new(), source))
}

/// The source of further rows.
trait Source: Send + 'static {
    /// Returns the rows of the next page, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Json>>, ApiError>> + Send;
}

struct Pages<F> {
    token: String,
    left: usize,
    fetch: F,
}

impl<F, R> Source for Pages<F>
where
    F: FnMut(String, usize) -> R + Send + 'static,
    R: Future<Output = Result<Page, ApiError>> + Send + 'static,
{
    async fn next(&mut self) -> Result<Option<Vec<Json>>, ApiError> {
        if self.token.is_empty() || self.left == 0 {
            return Ok(None);
        }
        let page = (self.fetch)(std::mem::take(&mut self.token), self.left.min(ROWS_PER_FETCH));
        let (mut rows, token) = page.await?;
        rows.truncate(self.left);
        self.left -= rows.len();
        self.token = token;
        Ok(Some(rows))
    }
}

struct BackwardPages<F> {
    /// The token of each page and the number of rows to request; the page with the oldest rows is the last one.
    pages: Vec<(String, usize)>,
    newest: Option<Vec<Json>>,
    fetch: F,
}

impl<F, R> Source for BackwardPages<F>
where
    F: FnMut(String, usize) -> R + Send + 'static,
    R: Future<Output = Result<Page, ApiError>> + Send + 'static,
{
    async fn next(&mut self) -> Result<Option<Vec<Json>>, ApiError> {
        match self.pages.pop() {
            Some((token, size)) => Ok(Some((self.fetch)(token, size).await?.0)),
            None => Ok(self.newest.take()),
        }
    }
}

/// One of several lists in a response, built from the arguments of [`paginated`].
pub struct Section {
    first: Vec<Json>,
    further: Rows,
    has_all: bool,
}

impl Section {
    /// Creates a section of at most `limit` rows whose first page has been fetched. `fetch` is the same as for [`paginated`].
    pub fn new<R>((rows, token): Page, limit: usize, fetch: impl FnMut(String, usize) -> R + Send + 'static) -> Self
    where
        R: Future<Output = Result<Page, ApiError>> + Send + 'static,
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

/// Responds with several lists, each written as by [`paginated`]. `frame` wraps their rows. The lists are written in the order in which
/// they appear in the encoded response, so at most one further page is in memory for a client that does not read.
pub fn sections<const N: usize>(sections: [Section; N], frame: impl FnOnce([Json; N]) -> Json) -> Response {
    if sections.iter().all(|section| section.has_all) {
        return json::ok(&frame(sections.map(|section| Json::Array(section.first))));
    }
    stream_lists(sections.map(|section| (section.first, section.further)), frame)
}

/// Pages of rows, each fetched when it is polled.
type Rows = BoxStream<'static, Result<Vec<Json>, ApiError>>;

fn further(source: impl Source) -> Rows {
    let pages = stream::unfold(source, |mut source| async move {
        let page = source.next().await.transpose()?;
        Some((page, source))
    });
    Box::pin(pages)
}

/// Encodes rows, separated by commas. `follows` is whether other rows precede them; it is set once a row has been encoded.
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

fn stream_lists<const N: usize>(lists: [(Vec<Json>, Rows); N], frame: impl FnOnce([Json; N]) -> Json) -> Response {
    // Frame random placeholders first, and write the rows in their place. Being random, they cannot occur in the data.
    let placeholders: [String; N] = std::array::from_fn(|_| Uuid::new_v4().to_string());
    let framed = frame(placeholders.each_ref().map(|placeholder| json!([placeholder]))).to_string();
    let mut positions: Vec<_> = placeholders
        .iter()
        .zip(lists)
        .filter_map(|(placeholder, list)| Some((framed.find(placeholder.as_str())?, list)))
        .collect();
    positions.sort_by_key(|(at, _)| *at);
    // A placeholder is enclosed in quotes, which are removed with it.
    let length = placeholders.first().map_or(0, String::len) + 1;
    let mut end = 0;
    let mut parts = Vec::with_capacity(N);
    for (at, list) in positions {
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
            tracing::warn!(
                ?failure,
                "failed to read a list after its response had started; the response is truncated"
            );
            Err(io::Error::other("failed to read the rest of the list"))
        }
    });
    json::of(Body::from_stream(chunks))
}

fn stream_list(frame: impl FnOnce(Json) -> Json, first: Vec<Json>, source: impl Source) -> Response {
    stream_lists([(first, further(source))], |[rows]| frame(rows))
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

    /// A page of the rows up to `count` that begins at the row of the token.
    fn page(token: &str, size: usize, count: usize) -> Page {
        let from: usize = token.parse().unwrap_or_default();
        let to = (from + size).min(count);
        let next = if to < count { to.to_string() } else { String::new() };
        ((from..to).map(|row| json!({ "row": row })).collect(), next)
    }

    /// A page that goes backwards from the row of the token.
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
                let answer = paginated(page("", size, count), limit, frame, move |token, left| {
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
        fn sections_contain_their_rows(counts in prop::array::uniform3(0..30_usize), size in 1..12_usize, limit in 1..20_usize) {
            // The order of the lists in the text differs from the order of the arguments.
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
    fn later_error_aborts_the_body() {
        let first = (vec![json!(1)], "next".to_owned());
        let answer = paginated(
            first,
            usize::MAX,
            |rows| rows,
            |_, _| std::future::ready(Err(ApiError::status_error(StatusCode::SERVICE_UNAVAILABLE))),
        );
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(run(read(answer)).is_err());
    }

    #[test]
    fn first_page_error_is_the_response() {
        let refused = || std::future::ready(Err(ApiError::status_error(StatusCode::FORBIDDEN)));
        assert!(run(all_pages(|rows| rows, move |_| refused())).is_err());
    }
}
