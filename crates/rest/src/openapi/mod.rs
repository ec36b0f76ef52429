//! The description of the REST gateway: how routes are described, the generated `OpenAPI` document, and a page on which to read it.

mod document;
mod responses;
pub mod route_description;
pub mod schema;
mod texts;

use std::sync::{Arc, OnceLock};

use axum::{
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse as _, Redirect, Response},
};
use bytes::Bytes;

use crate::{api_router::ApiRouter, params::attributes::Attributes};

pub use document::document;
pub use route_description::{Caller, Endpoint, RouteDescription, describe};

/// The Content-Security-Policy of the documentation page: nothing is loaded from other origins, and only the page's own script files run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The path of the documentation page.
const REFERENCE: &str = "/docs/api";

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// The `OpenAPI` document, set once all routes are known.
pub type Document = Arc<OnceLock<Bytes>>;

/// Returns the routes that serve the `OpenAPI` document and the documentation page. The document describes these routes as well.
pub fn routes(document: &Document) -> ApiRouter {
    let document = Arc::clone(document);
    let shown = move || {
        let bytes = document.get().cloned().unwrap_or_default();
        async move { served("application/json; charset=utf-8", bytes) }
    };
    let page = |kind: &'static str, text: &'static str| move || async move { served(kind, Bytes::from_static(text.as_bytes())) };
    let file = |id, kind| describe(id, "").caller(Caller::Anyone).returns_bytes(kind);
    ApiRouter::new("Description")
        .get(
            "/openapi.json",
            shown,
            describe("showDescription", "").caller(Caller::Anyone).returns::<Attributes>(),
        )
        .get("/", page("text/html; charset=utf-8", PAGE), file("showRoot", "text/html"))
        .get(
            "/docs",
            || async { Redirect::permanent(REFERENCE) },
            describe("redirectToPage", "").caller(Caller::Anyone).moved(),
        )
        .get(REFERENCE, page("text/html; charset=utf-8", PAGE), file("showPage", "text/html"))
        .get(
            "/docs/api/page.js",
            page("text/javascript; charset=utf-8", SCRIPT),
            file("showPageScript", "text/javascript"),
        )
        .get(
            "/docs/api/page.css",
            page("text/css; charset=utf-8", STYLE),
            file("showPageStyle", "text/css"),
        )
}

fn served(kind: &'static str, bytes: Bytes) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, bytes).into_response()
}
