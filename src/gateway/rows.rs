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
use futures_util::stream;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Answer, error::Failure, json};

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
    streamed(frame, Step::Rows(rows), Pages { token, left, fetch })
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
    Ok(streamed(frame, Step::Rows(Vec::new()), source))
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

enum Step {
    Rows(Vec<Json>),
    Fetch,
    End,
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

fn streamed(frame: impl FnOnce(Json) -> Json, first: Step, source: impl Source) -> Response {
    // Rows are written in place of a text that nobody can know.
    let mark = Uuid::new_v4().to_string();
    let framed = frame(Json::Array(vec![Json::String(mark.clone())])).to_string();
    let (before, after) = framed.split_once(&format!("\"{mark}\"")).unwrap_or((framed.as_str(), ""));
    let (before, after) = (before.to_owned(), after.to_owned());
    let body = stream::unfold(
        (Some(before), first, source, false),
        move |(before, step, mut source, mut follows)| {
            let after = after.clone();
            async move {
                let mut chunk = before.unwrap_or_default();
                let next = match step {
                    Step::Rows(rows) => {
                        chunk.push_str(&text(&rows, &mut follows));
                        Step::Fetch
                    }
                    Step::Fetch => match source.next().await {
                        Ok(Some(rows)) => {
                            chunk.push_str(&text(&rows, &mut follows));
                            Step::Fetch
                        }
                        Ok(None) => {
                            chunk.push_str(&after);
                            Step::End
                        }
                        Err(failure) => {
                            tracing::warn!(?failure, "a list broke off after its answer had begun");
                            let broken = io::Error::other("the list broke off");
                            return Some((Err(broken), (None, Step::End, source, follows)));
                        }
                    },
                    Step::End => return None,
                };
                Some((Ok::<_, io::Error>(Bytes::from(chunk)), (None, next, source, follows)))
            }
        },
    );
    json::of(Body::from_stream(body))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use proptest::prelude::*;
    use serde_json::json;

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
