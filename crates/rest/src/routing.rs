//! Builds the router from the routes of a [`Door`], with their middleware and their description. No other file registers routes.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::{Method, Uri},
    routing::any,
};
use bytes::Bytes;
use tonic::service::Routes;

use crate::{
    call::Behind,
    config::Config,
    door::Door,
    errors::Failure,
    layers::{admission, early, position},
    openapi::{self, Caller, Endpoint},
    params::{
        ignored::{self, Understood},
        multipart::TextLimit,
    },
    realtime::cable,
};

/// Action Cable: anyone may open the WebSocket. It receives nothing before a subscription, which requires a pubsub token.
pub(crate) const CABLE: Endpoint = Endpoint {
    path: "/cable",
    caller: Caller::Anyone,
    credential: "a pubsub token in each subscription",
};

/// Builds the router. The paths in `absent` are not routes, even though a route with an id in that segment matches them.
pub fn router(door: Door, services: Routes, config: &Config, absent: &[&str]) -> Router {
    let document = openapi::Document::default();
    let all = door.merge(openapi::routes(&document)).into_routes();
    let described = openapi::document(&all, &[CABLE], &config.base_url);
    // `set` fails only if the document is already set, and it was created above.
    let _ = document.set(Bytes::from(described));
    let services = services.prepare();
    let mut router = Router::new();
    for route in all {
        let early = axum::middleware::from_fn_with_state((services.clone(), route.about.required_caller()), early::check);
        let report = axum::middleware::from_fn_with_state(Understood::of(&route, &services), ignored::report);
        let charge = axum::middleware::from_fn_with_state((Arc::clone(&config.anonymous), config.memory.clone()), admission::charge);
        let methods = route
            .methods_router
            .route_layer(report)
            .route_layer(early)
            .route_layer(Extension(Behind(route.about.rpc())))
            .route_layer(charge);
        router = router.route(&route.path, methods);
    }
    for path in absent {
        router = router.route(path, any(unknown_route));
    }
    router
        // The WebSocket has a protocol of its own, which `OpenAPI` cannot describe.
        .route(CABLE.path, any(cable::open))
        .layer(Extension(cable::Drain(config.drain.clone())))
        .layer(Extension(Arc::clone(&config.anonymous)))
        .layer(Extension(config.memory.clone()))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(DefaultBodyLimit::max(config.max_body_bytes))
        .layer(Extension(TextLimit(config.max_body_bytes)))
        .layer(axum::middleware::from_fn(position::say))
        .with_state(services)
}

async fn unknown_route(method: Method, uri: Uri) -> Failure {
    if method == Method::POST && uri.path().ends_with("/webhooks") {
        return Failure::no_webhooks();
    }
    Failure::unknown_route()
}
