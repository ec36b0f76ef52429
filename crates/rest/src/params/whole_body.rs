//! Reads complete request bodies into memory.
//!
//! A client decides how its body is split into chunks. If chunks were collected as they arrive, each would take 32 bytes plus the read
//! buffer that it keeps alive: a body of single-byte chunks would take forty times its size in memory, but would be charged only eight
//! times its size. Chunks are therefore copied into one buffer.

use std::error::Error as _;

use axum::{
    RequestExt as _,
    extract::{FromRequest as _, Request},
    http::StatusCode,
    response::IntoResponse as _,
};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError};
use parley_fault::Protection;

use crate::errors::ApiError;

/// Reads the body of a request, up to the limit of its route.
///
/// # Errors
/// Returns 413 if the body exceeds the limit, and 400 if the body is cut off or times out.
pub async fn read(request: Request) -> Result<Bytes, ApiError> {
    if !parley_fault::is_on(Protection::ContiguousBodies) {
        let collected = Bytes::from_request(request, &()).await;
        return collected.map_err(|rejection| ApiError::status_error(rejection.into_response().status()));
    }
    let mut body = request.with_limited_body().into_body();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::status_error(status(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        // Most bodies consist of one chunk, which needs no copy.
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn status(error: &axum::Error) -> StatusCode {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        source = error.source();
    }
    StatusCode::BAD_REQUEST
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::DefaultBodyLimit, routing::post};
    use futures_util::stream;
    use tower::ServiceExt as _;

    use super::*;

    async fn sent(pieces: Vec<&'static str>) -> (StatusCode, Bytes) {
        let read = |request: Request| async move { read(request).await.map_err(|failure| failure.into_response().status()) };
        let app = axum::Router::new().route("/", post(read)).layer(DefaultBodyLimit::max(10));
        let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
        let request = Request::post("/").body(Body::from_stream(stream::iter(pieces))).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let status = response.status();
        (status, axum::body::to_bytes(response.into_body(), 100).await.unwrap())
    }

    #[tokio::test]
    async fn joins_chunks_up_to_the_limit() {
        assert_eq!(sent(vec![]).await, (StatusCode::OK, Bytes::new()));
        assert_eq!(sent(vec!["whole"]).await, (StatusCode::OK, Bytes::from("whole")));
        assert_eq!(
            sent(vec!["a", "", "bc", "defghij"]).await,
            (StatusCode::OK, Bytes::from("abcdefghij"))
        );
        assert_eq!(sent(vec!["a"; 11]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
