//! The span of a request and what is measured of it. Paths stay out of both, and routes stand for them: some paths hold what lets one in.

use std::{sync::LazyLock, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, Version},
    middleware::Next,
    response::Response,
};
use opentelemetry::{KeyValue, metrics::Histogram, trace::FutureExt as _};
use tracing::{Instrument as _, Span, field::Empty};

use crate::telemetry::{
    context, exemplars,
    names::{
        CALL_SECONDS, ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE, HTTP_SERVER_REQUEST_DURATION,
        NETWORK_PROTOCOL_VERSION, OTEL_KIND, OTEL_NAME, OTEL_STATUS_CODE, URL_SCHEME, meter,
    },
};

static DURATIONS: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram(HTTP_SERVER_REQUEST_DURATION)
        .with_unit("s")
        .with_description("How long requests took until their answers began")
        .with_boundaries(CALL_SECONDS.to_vec())
        .build()
});

/// Traces and measures a request until its answer begins. One whose client goes before is told by the call that it led to.
pub async fn watch(scheme: &'static str, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let version = match request.version() {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let span = begin(method, route.as_deref(), scheme, version);
    let around = context::take_up(&span, request.headers());
    let watched = async {
        let answer = next.run(request).await;
        let status = answer.status();
        let mut labels = vec![
            KeyValue::new(HTTP_REQUEST_METHOD, method),
            KeyValue::new(URL_SCHEME, scheme),
            KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16())),
        ];
        span.record(HTTP_RESPONSE_STATUS_CODE, status.as_u16());
        if status.is_server_error() {
            span.record(ERROR_TYPE, status.as_str());
            span.record(OTEL_STATUS_CODE, "ERROR");
            labels.push(KeyValue::new(ERROR_TYPE, status.as_str().to_owned()));
        }
        if let Some(route) = route {
            labels.push(KeyValue::new(HTTP_ROUTE, route));
        }
        let took = begun.elapsed().as_secs_f64();
        DURATIONS.record(took, &labels);
        exemplars::note("http_server_request_duration_seconds", &labels, &CALL_SECONDS, took);
        answer
    };
    watched.instrument(span.clone()).with_context(around).await
}

fn begin(method: &'static str, route: Option<&str>, scheme: &'static str, version: &'static str) -> Span {
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    tracing::info_span!(
        "request",
        { OTEL_KIND } = "server",
        { OTEL_NAME } = name,
        { HTTP_REQUEST_METHOD } = method,
        { HTTP_ROUTE } = route,
        { URL_SCHEME } = scheme,
        { NETWORK_PROTOCOL_VERSION } = version,
        { HTTP_RESPONSE_STATUS_CODE } = Empty,
        { ERROR_TYPE } = Empty,
        { OTEL_STATUS_CODE } = Empty,
    )
}

/// Anybody may make methods up: those count together.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}
