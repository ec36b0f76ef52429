//! Forwards response metadata of the gRPC services as HTTP headers: the cursor of a write (a read that sends it back waits until the log
//! has reached that position) and the token's remaining rate limit. Also marks a request as heavy (see [`Weight`]) when a service returns a
//! large response.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use parley_compute::{HasWeight, HeavyBody, WeighedBody, Weight};
use parley_types::cursor_text;
use tonic::{body::Body, service::Routes};
use tower::Service;

/// The response header that contains the cursor of a write, in base64url like all cursors in the JSON API.
const CURSOR: HeaderName = HeaderName::from_static("parley-cursor");

/// Converts a cursor from binary metadata (base64) to its text form (base64url).
fn as_text(value: &HeaderValue) -> HeaderValue {
    let cursor = value.to_str().ok().and_then(cursor_text::decode);
    let text = cursor.map(|cursor| cursor_text::encode(&cursor));
    text.and_then(|text| HeaderValue::from_str(&text).ok())
        .unwrap_or_else(|| value.clone())
}

/// The metadata keys to forward, each with the name of its response header.
const FORWARDED_METADATA: [(HeaderName, HeaderName); 4] = [
    (
        HeaderName::from_static("parley-cursor-bin"),
        HeaderName::from_static("parley-cursor"),
    ),
    (
        HeaderName::from_static("ratelimit-limit"),
        HeaderName::from_static("ratelimit-limit"),
    ),
    (
        HeaderName::from_static("ratelimit-remaining"),
        HeaderName::from_static("ratelimit-remaining"),
    ),
    (
        HeaderName::from_static("ratelimit-reset"),
        HeaderName::from_static("ratelimit-reset"),
    ),
];

/// The latest metadata that the services returned during one request, and whether the request is heavy.
#[derive(Clone, Debug, Default)]
pub struct ResponseMetadata(Arc<RecordedMetadata>);

#[derive(Debug, Default)]
struct RecordedMetadata {
    headers: Mutex<HeaderMap>,
    weight: Weight,
}

impl HasWeight for ResponseMetadata {
    fn weight(&self) -> &Weight {
        &self.0.weight
    }
}

impl ResponseMetadata {
    fn record(&self, headers: &HeaderMap) {
        for (key, header) in &FORWARDED_METADATA {
            if let Some(value) = headers.get(key) {
                let mut recorded = self.0.headers.lock().unwrap_or_else(PoisonError::into_inner);
                recorded.insert(header, if header == CURSOR { as_text(value) } else { value.clone() });
            }
        }
    }

    fn take(&self) -> HeaderMap {
        std::mem::take(&mut *self.0.headers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Middleware that adds the headers forwarded from gRPC response metadata to the HTTP response.
pub async fn forward_metadata(mut request: Request, next: Next) -> Response {
    let response_metadata = ResponseMetadata::default();
    request.extensions_mut().insert(response_metadata.clone());
    let mut response = response_metadata.weight().run(next.run(request)).await;
    response.headers_mut().extend(response_metadata.take());
    if response_metadata.weight().is_heavy() {
        // The pages of a streamed list are fetched and encoded while the response body is polled, so the body's polls are heavy as well.
        response = response.map(|body| axum::body::Body::new(HeavyBody::new(body)));
    }
    response
}

/// The gRPC services, wrapped so that their response metadata is recorded.
#[derive(Clone, Debug)]
pub struct CursorRecorder {
    pub routes: Routes,
    pub response_metadata: ResponseMetadata,
}

impl Service<http::Request<Body>> for CursorRecorder {
    type Response = http::Response<WeighedBody<Body, ResponseMetadata>>;
    type Error = <Routes as Service<http::Request<Body>>>::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.routes.call(request);
        let response_metadata = self.response_metadata.clone();
        Box::pin(async move {
            let response = answer.await?;
            response_metadata.record(response.headers());
            Ok(response.map(|body| WeighedBody::new(body, response_metadata)))
        })
    }
}
