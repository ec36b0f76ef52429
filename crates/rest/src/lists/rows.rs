//! List responses of the JSON API, which contain as many rows as Chatwoot returns, however large the rows are.
//!
//! The gRPC service limits the size of pages in bytes. A response that needs more than one page is streamed page by page: the next page is
//! requested once the client has read the previous ones, so at most one page is in memory for a client that does not read. The first page
//! is fetched before the response begins, so a failure to fetch it still determines the status code. A later failure aborts the body, and
//! every HTTP client reports an aborted body as an error.

use std::{borrow::Cow, io, marker::PhantomData};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use parley_proto::rpc::{PageResponse, PagedRequest, UnaryRequest};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use tonic::Status;
use uuid::Uuid;

use crate::{ApiResult, call::Call, errors::ApiError, json};

/// The rows of one page, and the token of the next page (empty if there is none).
pub type Page<T> = (Vec<T>, String);

/// Number of rows to request per page of a list that has no row limit.
const ROWS_PER_FETCH: usize = 1000;

/// A placeholder that marks the position of a list in its response. `T` is the type of the rows, which are encoded separately.
#[derive(Debug)]
pub struct Rows<T> {
    /// A random string, so that it cannot occur in the data.
    placeholder: String,
    rows: PhantomData<T>,
}

impl<T> Serialize for Rows<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [&self.placeholder].serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Rows<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Vec::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<T>::json_schema(generator)
    }
}

/// Responds with all rows of a list. `frame` wraps the rows in the response object, and `fetch` requests the page for a page token.
///
/// # Errors
/// Returns the error if the first page cannot be fetched.
pub async fn all_pages<T, F, R>(frame: impl FnOnce(Rows<T>) -> F, mut fetch: impl FnMut(String) -> R + Send + 'static) -> ApiResult
where
    T: Serialize + Send + 'static,
    F: Serialize,
    R: Future<Output = Result<Page<T>, ApiError>> + Send + 'static,
{
    let first = fetch(String::new()).await?;
    Ok(paginated(first, usize::MAX, frame, move |token, _| fetch(token)))
}

/// Responds with all rows that a gRPC list request returns. `frame` wraps the rows in the response object, and `json` converts a row to
/// JSON.
///
/// # Errors
/// Returns the error if the first page cannot be fetched.
pub async fn all_rows<R, T, F>(
    call: Call,
    request: R,
    frame: impl FnOnce(Rows<T>) -> F,
    json: fn(<R::Response as PageResponse>::Row) -> T,
) -> ApiResult
where
    R: PagedRequest + UnaryRequest<Response: PageResponse>,
    T: Serialize + Send + 'static,
    F: Serialize,
{
    all_rows_or(ApiError::from, call, request, frame, json).await
}

/// Like [`all_rows`], but converts gRPC errors with `refused`.
///
/// # Errors
/// Returns the error if the first page cannot be fetched.
pub async fn all_rows_or<R, T, F>(
    refused: fn(Status) -> ApiError,
    call: Call,
    request: R,
    frame: impl FnOnce(Rows<T>) -> F,
    json: fn(<R::Response as PageResponse>::Row) -> T,
) -> ApiResult
where
    R: PagedRequest + UnaryRequest<Response: PageResponse>,
    T: Serialize + Send + 'static,
    F: Serialize,
{
    all_pages(frame, move |token| {
        let mut request = request.clone();
        request.set_page(request.page_size(), token);
        let page = call.send(request);
        async move {
            let (rows, token) = page.await.map_err(refused)?.into_page();
            Ok((rows.into_iter().map(json).collect(), token))
        }
    })
    .await
}

/// Responds with at most `limit` rows of a list whose first page has already been fetched. `fetch` requests the page for a page token and a
/// maximum number of rows.
pub fn paginated<T, F, R>(
    first: Page<T>,
    limit: usize,
    frame: impl FnOnce(Rows<T>) -> F,
    fetch: impl FnMut(String, usize) -> R + Send + 'static,
) -> Response
where
    T: Serialize + Send + 'static,
    F: Serialize,
    R: Future<Output = Result<Page<T>, ApiError>> + Send + 'static,
{
    sections([Section::new(first, limit, fetch)], |[position]| frame(position.rows()))
}

/// Responds with at most `limit` rows of a list that the service pages through backwards: the first page, which has already been fetched,
/// contains the newest rows. The response contains the rows in ascending order.
///
/// # Errors
/// Returns the error if a page that is needed to locate the oldest rows cannot be fetched.
pub async fn backwards<T, F, R>(
    (rows, token): Page<T>,
    limit: usize,
    frame: impl FnOnce(Rows<T>) -> F,
    mut fetch: impl FnMut(String, usize) -> R + Send + 'static,
) -> ApiResult
where
    T: Serialize + Send + 'static,
    F: Serialize,
    R: Future<Output = Result<Page<T>, ApiError>> + Send + 'static,
{
    if token.is_empty() || rows.len() >= limit {
        return Ok(sections([Section::whole(&rows)], |[position]| frame(position.rows())));
    }
    // The response begins with the rows of the page that is fetched last. Keeping all pages until then would hold the whole list in memory.
    // Therefore, determine the tokens of all pages first, and fetch each page a second time when it is written.
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
    let section = Section {
        first: String::new(),
        further: Some(further(source, false)),
    };
    Ok(sections([section], |[position]| frame(position.rows())))
}

/// A source of further rows of a list.
trait Source: Send + 'static {
    type Row: Serialize + Send + 'static;

    /// Returns the rows of the next page, or `None` at the end of the list.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Self::Row>>, ApiError>> + Send;
}

struct Pages<F> {
    token: String,
    left: usize,
    fetch: F,
}

impl<T, F, R> Source for Pages<F>
where
    T: Serialize + Send + 'static,
    F: FnMut(String, usize) -> R + Send + 'static,
    R: Future<Output = Result<Page<T>, ApiError>> + Send + 'static,
{
    type Row = T;

    async fn next(&mut self) -> Result<Option<Vec<T>>, ApiError> {
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

struct BackwardPages<T, F> {
    /// The token and number of requested rows of each page. The page with the oldest rows is at the end.
    pages: Vec<(String, usize)>,
    newest: Option<Vec<T>>,
    fetch: F,
}

impl<T, F, R> Source for BackwardPages<T, F>
where
    T: Serialize + Send + 'static,
    F: FnMut(String, usize) -> R + Send + 'static,
    R: Future<Output = Result<Page<T>, ApiError>> + Send + 'static,
{
    type Row = T;

    async fn next(&mut self) -> Result<Option<Vec<T>>, ApiError> {
        match self.pages.pop() {
            Some((token, size)) => Ok(Some((self.fetch)(token, size).await?.0)),
            None => Ok(self.newest.take()),
        }
    }
}

/// One of several lists in a response. Built from the same arguments as [`paginated`].
pub struct Section {
    /// The encoded rows of the first page.
    first: String,
    /// The encoded rows of further pages, if there are any.
    further: Option<EncodedPages>,
}

/// A stream of pages of encoded rows. Each page is fetched when the stream is polled.
type EncodedPages = BoxStream<'static, Result<String, ApiError>>;

impl Section {
    /// Creates the section for a list of at most `limit` rows whose first page has already been fetched.
    pub fn new<T, R>((mut rows, token): Page<T>, limit: usize, fetch: impl FnMut(String, usize) -> R + Send + 'static) -> Self
    where
        T: Serialize + Send + 'static,
        R: Future<Output = Result<Page<T>, ApiError>> + Send + 'static,
    {
        rows.truncate(limit);
        let left = limit - rows.len();
        let has_all = token.is_empty() || left == 0;
        Self {
            further: (!has_all).then(|| further(Pages { token, left, fetch }, !rows.is_empty())),
            ..Self::whole(&rows)
        }
    }

    fn whole<T: Serialize>(rows: &[T]) -> Self {
        Self {
            first: text(rows, &mut false),
            further: None,
        }
    }
}

/// The position of a section in the response.
pub struct Position(String);

impl Position {
    /// Returns the list of rows to place at this position.
    pub fn rows<T>(self) -> Rows<T> {
        Rows {
            placeholder: self.0,
            rows: PhantomData,
        }
    }
}

/// Responds with several lists, each written as [`paginated`] would write it. `frame` places them in the response object. The lists are
/// written in the order in which they appear in the response, so if the client stops reading, at most one more page is held in memory.
pub fn sections<const N: usize, F: Serialize>(sections: [Section; N], frame: impl FnOnce([Position; N]) -> F) -> Response {
    // Encode the response object with random placeholders, and then write the rows in their place.
    let placeholders: [String; N] = std::array::from_fn(|_| Uuid::new_v4().to_string());
    let framed = json::encode(&frame(placeholders.clone().map(Position)));
    let mut positions: Vec<_> = placeholders
        .iter()
        .zip(sections)
        .filter_map(|(placeholder, section)| Some((framed.find(placeholder.as_str())?, section)))
        .collect();
    positions.sort_by_key(|(at, _)| *at);
    // A placeholder is encoded in quotes, which are removed together with it.
    let length = placeholders.first().map_or(0, String::len) + 1;
    let mut end = 0;
    let mut parts = Vec::with_capacity(N);
    for (at, section) in positions {
        parts.push((framed[end..at - 1].to_owned() + &section.first, section.further));
        end = at + length;
    }
    parts.push((framed[end..].to_owned(), None));
    if parts.iter().all(|(_, further)| further.is_none()) {
        return json::of(Body::from(parts.into_iter().map(|(text, _)| text).collect::<String>()));
    }
    let chunks = stream::iter(parts).flat_map(|(text, further)| stream::iter([Ok(text)]).chain(stream::iter(further).flatten()));
    json::of(Body::from_stream(chunks.map(|chunk| match chunk {
        Ok(text) => Ok(Bytes::from(text)),
        Err(failure) => {
            tracing::warn!(
                ?failure,
                "failed to read a list after its response had started; the response is truncated"
            );
            Err(io::Error::other("failed to read the rest of the list"))
        }
    })))
}

/// Encodes the pages of a source. `follows` is whether other rows precede them, in which case a comma is written first.
fn further(source: impl Source, follows: bool) -> EncodedPages {
    let pages = stream::unfold((source, follows), |(mut source, mut follows)| async move {
        let page = source.next().await.transpose()?;
        let page = page.map(|rows| text(&rows, &mut follows));
        Some((page, (source, follows)))
    });
    Box::pin(pages)
}

/// Encodes rows, separated by commas. `follows` is whether other rows precede them, in which case a comma is written first.
fn text<T: Serialize>(rows: &[T], follows: &mut bool) -> String {
    let mut text = String::new();
    for row in rows {
        if std::mem::replace(follows, true) {
            text.push(',');
        }
        text.push_str(&json::encode(row));
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    async fn read(response: Response) -> Result<Json, axum::Error> {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await?;
        Ok(serde_json::from_slice(&bytes).expect("whole JSON"))
    }

    /// A page of the rows up to `count` that begins at the row of the token.
    fn page(token: &str, size: usize, count: usize) -> Page<Json> {
        let from: usize = token.parse().unwrap_or_default();
        let to = (from + size).min(count);
        let next = if to < count { to.to_string() } else { String::new() };
        ((from..to).map(|row| json!({ "row": row })).collect(), next)
    }

    /// A page that goes backwards from the row of the token.
    fn page_back(token: &str, size: usize, count: usize) -> Page<Json> {
        let to: usize = token.parse().unwrap_or(count);
        let from = to.saturating_sub(size);
        let next = if from > 0 { from.to_string() } else { String::new() };
        ((from..to).map(|row| json!({ "row": row })).collect(), next)
    }

    proptest! {
        #[test]
        fn every_row_is_written_once_in_order(count in 0..40_usize, size in 1..12_usize, limit in 1..50_usize) {
            let framed = |rows: Json| json!({ "meta": { "count": 3, "name": "]\"" }, "payload": rows });
            let frame = |rows: Rows<Json>| framed(json!(rows));
            let forward = run(async {
                let answer = paginated(page("", size, count), limit, frame, move |token, left| {
                    std::future::ready(Ok(page(&token, size.min(left), count)))
                });
                read(answer).await.unwrap()
            });
            let expected: Vec<Json> = (0..count.min(limit)).map(|row| json!({ "row": row })).collect();
            prop_assert_eq!(forward, framed(Json::Array(expected)));
            let size = size.min(limit);
            let back = run(async {
                let fetch = move |token: String, left: usize| std::future::ready(Ok(page_back(&token, size.min(left), count)));
                read(backwards(page_back("", size, count), limit, frame, fetch).await.unwrap()).await.unwrap()
            });
            let expected: Vec<Json> = (count.saturating_sub(limit)..count).map(|row| json!({ "row": row })).collect();
            prop_assert_eq!(back, framed(Json::Array(expected)));
        }
    }

    proptest! {
        #[test]
        fn sections_contain_their_rows(counts in prop::array::uniform3(0..30_usize), size in 1..12_usize, limit in 1..20_usize) {
            // The order of the lists in the text differs from the order of the arguments.
            let framed = |[a, b, c]: [Json; 3]| json!({ "b": a, "c": { "n": b }, "a": c });
            let frame = |positions: [Position; 3]| framed(positions.map(|position| json!(position.rows::<Json>())));
            let sections = counts.map(|count| {
                Section::new(page("", size, count), limit, move |token, left| {
                    std::future::ready(Ok(page(&token, size.min(left), count)))
                })
            });
            let written = run(async { read(super::sections(sections, frame)).await.unwrap() });
            let expected = counts.map(|count| (0..count.min(limit)).map(|row| json!({ "row": row })).collect::<Json>());
            prop_assert_eq!(written, framed(expected));
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
        assert!(run(all_pages(|rows: Rows<Json>| rows, move |_| refused())).is_err());
    }
}
