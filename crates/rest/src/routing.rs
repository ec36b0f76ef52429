//! Serves the routes of a [`Door`] with their layers and their description. No other file registers routes.

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

/// Action Cable: anyone may open the WebSocket, and hears nothing before a subscription.
pub(crate) const CABLE: Endpoint = Endpoint {
    path: "/cable",
    caller: Caller::Anyone,
    credential: "a pubsub token in each subscription",
};

/// The door with its description, over services. What lies at `absent` is no route, though a route with an id in its place is.
pub fn router(door: Door, services: Routes, config: &Config, absent: &[&str]) -> Router {
    let document = openapi::Document::default();
    let all = door.merge(openapi::routes(&document)).into_routes();
    let described = openapi::document(&all, &[CABLE], &config.base_url);
    // Nobody has set it before: it was made three lines above.
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
        // A protocol of its own, which a description of JSON routes has no words for.
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
