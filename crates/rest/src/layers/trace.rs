//! The tracing span and the metrics of a request. Both contain the route and never the path, because some paths contain secrets.

use std::{sync::LazyLock, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, StatusCode, Version},
    middleware::Next,
    response::Response,
};
use opentelemetry::{
    Context, KeyValue,
    metrics::Histogram,
    trace::{FutureExt as _, SpanKind},
};
use parley_telemetry::{
    context, exemplars,
    names::{
        CALL_SECONDS, ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE, HTTP_SERVER_REQUEST_DURATION,
        NETWORK_PROTOCOL_VERSION, URL_SCHEME, meter,
    },
    span,
};

static DURATIONS: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram(HTTP_SERVER_REQUEST_DURATION)
        .with_unit("s")
        .with_description("Time from a request to the start of its response")
        .with_boundaries(CALL_SECONDS.to_vec())
        .build()
});

/// The value of `error.type` if the client disconnected before it received the response.
const GONE: &str = "cancelled";

/// Traces and measures a request until its response headers are ready or the client disconnects.
pub async fn watch(scheme: &'static str, request: Request, next: Next) -> Response {
    let record = RequestRecord::begin(scheme, &request);
    let context = record.context.clone();
    async {
        let answer = next.run(request).await;
        record.complete(answer.status());
        answer
    }
    .with_context(context)
    .await
}

/// A request in progress. If it is dropped before the response, the client has disconnected.
struct RequestRecord {
    method: &'static str,
    scheme: &'static str,
    route: Option<String>,
    begun: Instant,
    context: Context,
    is_recorded: bool,
}

impl RequestRecord {
    fn begin(scheme: &'static str, request: &Request) -> Self {
        let method = known(request.method());
        let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let version = match request.version() {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        let described = || {
            let name = route
                .as_ref()
                .map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
            let mut attributes = vec![
                KeyValue::new(HTTP_REQUEST_METHOD, method),
                KeyValue::new(URL_SCHEME, scheme),
                KeyValue::new(NETWORK_PROTOCOL_VERSION, version),
            ];
            attributes.extend(route.clone().map(|route| KeyValue::new(HTTP_ROUTE, route)));
            (name.into(), attributes)
        };
        Self {
            context: span::begin(&context::asked_for(request.headers()), SpanKind::Server, Vec::new(), described),
            method,
            scheme,
            route,
            begun: Instant::now(),
            is_recorded: false,
        }
    }

    fn complete(mut self, status: StatusCode) {
        self.is_recorded = true;
        self.record(Some(status));
    }

    fn record(&self, status: Option<StatusCode>) {
        let mut outcome: Vec<KeyValue> = status
            .iter()
            .map(|status| KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16())))
            .collect();
        let is_fault = status.is_some_and(|status| status.is_server_error());
        match status {
            Some(status) if is_fault => outcome.push(KeyValue::new(ERROR_TYPE, status.as_str().to_owned())),
            Some(_) => {}
            None => outcome.push(KeyValue::new(ERROR_TYPE, GONE)),
        }
        span::end(&self.context, is_fault, || outcome.clone());
        let mut labels = vec![
            KeyValue::new(HTTP_REQUEST_METHOD, self.method),
            KeyValue::new(URL_SCHEME, self.scheme),
        ];
        labels.extend(outcome);
        labels.extend(self.route.clone().map(|route| KeyValue::new(HTTP_ROUTE, route)));
        let took = self.begun.elapsed().as_secs_f64();
        DURATIONS.record(took, &labels);
        exemplars::note("http_server_request_duration_seconds", &labels, &CALL_SECONDS, took);
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.record(None);
        }
    }
}

/// Returns the name of an HTTP method, or `_OTHER` if the method is not a well-known one. Clients can send arbitrary methods, and each of
/// them would otherwise create a time series of its own.
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
