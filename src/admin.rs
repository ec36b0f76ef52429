//! The operators' listener, which serves `/livez`, `/readyz` and `/metrics`. It requires no tokens and does not access the domain; other
//! components report their readiness to it.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use parley_telemetry::exemplars::open_metrics;
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde_json::json;
use tokio::sync::watch;

/// The checks that must pass before this process can serve calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    checks: BTreeMap<&'static str, Result<(), String>>,
}

impl Readiness {
    /// Creates a set of checks, all of which are pending.
    pub fn waiting_for(checks: &[&'static str]) -> Self {
        let checks = checks.iter().map(|name| (*name, Err("not checked yet".to_owned())));
        Self { checks: checks.collect() }
    }

    /// Records the outcome of a check and returns whether it changed. The error is a short description of the problem, without secrets.
    pub fn set(&mut self, check: &'static str, outcome: Result<(), String>) -> bool {
        let before = self.checks.insert(check, outcome);
        self.checks.get(check) != before.as_ref()
    }

    /// Returns the name of each check and whether it passes.
    pub fn checks(&self) -> impl Iterator<Item = (&'static str, bool)> + '_ {
        self.checks.iter().map(|(name, outcome)| (*name, outcome.is_ok()))
    }

    /// Returns whether all checks pass. Without any checks, the process is not ready.
    pub fn is_ready(&self) -> bool {
        !self.checks.is_empty() && self.checks.values().all(Result::is_ok)
    }
}

#[derive(Clone)]
struct AdminState {
    registry: Registry,
    readiness: watch::Receiver<Readiness>,
}

/// Builds the routes. `/readyz` reports the latest value sent through `readiness`.
pub fn router(registry: Registry, readiness: watch::Receiver<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(AdminState { registry, readiness })
}

async fn readyz(State(state): State<AdminState>) -> Response {
    let readiness = state.readiness.borrow().clone();
    let ready = readiness.is_ready();
    let checks: BTreeMap<_, _> = readiness
        .checks
        .into_iter()
        .map(|(name, outcome)| (name, outcome.map_or_else(|reason| reason, |()| "ok".to_owned())))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "checks": checks }))).into_response()
}

/// The `OpenMetrics` content type, which Prometheus prefers.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the Prometheus text format, or `OpenMetrics` with exemplars to clients that accept it.
async fn metrics(State(state): State<AdminState>, headers: HeaderMap) -> Response {
    let encoder = TextEncoder::new();
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match encoder.encode_to_string(&state.registry.gather()) {
        Ok(text) if accepts.contains("application/openmetrics-text") => {
            ([(header::CONTENT_TYPE, OPEN_METRICS)], open_metrics(&text)).into_response()
        }
        Ok(text) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_lists_each_check_and_liveness_ignores_them() {
        let (sender, receiver) = watch::channel(Readiness::waiting_for(&["database", "listeners"]));
        let router = router(Registry::new(), receiver);
        assert_eq!(ask(&router, "/livez").await, (StatusCode::OK, "ok".to_owned()));
        sender.send_if_modified(|readiness| readiness.set("database", Ok(())));
        let expected = r#"{"checks":{"database":"ok","listeners":"not checked yet"},"ready":false}"#;
        assert_eq!(
            ask(&router, "/readyz").await,
            (StatusCode::SERVICE_UNAVAILABLE, expected.to_owned())
        );
        sender.send_if_modified(|readiness| readiness.set("listeners", Ok(())));
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let registry = Registry::new();
        let counter = prometheus::IntCounter::new("parley_test_total", "a test").unwrap();
        registry.register(Box::new(counter)).unwrap();
        let (_sender, receiver) = watch::channel(Readiness::default());
        let (status, text) = ask(&router(registry, receiver), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("# TYPE parley_test_total counter"), "{text}");
    }
}
