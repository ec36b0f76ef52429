//! Builds the router from the routes of an [`ApiRouter`], with their middleware and the `OpenAPI` document. No other file registers routes.

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
    api_router::ApiRouter,
    call::RpcMethod,
    config::Config,
    errors::ApiError,
    layers::{admission, early_authorization, response_metadata},
    openapi::{self, Caller, Endpoint},
    params::{
        ignored::{self, KnownParams},
        multipart::TextLimit,
    },
    realtime::cable,
};

/// The endpoint of Action Cable. Anyone may open the WebSocket, but receives nothing without a subscription, which requires a pubsub token.
pub(crate) const CABLE: Endpoint = Endpoint {
    path: "/cable",
    caller: Caller::Anyone,
    credential: "a pubsub token in each subscription",
};

/// Builds the router. The paths in `absent` are treated as unknown routes, even though each of them matches a route that has an id
/// parameter.
pub fn router(api_router: ApiRouter, services: Routes, config: &Config, absent: &[&str]) -> Router {
    let document = openapi::Document::default();
    let all = api_router.merge(openapi::routes(&document)).into_routes();
    let described = openapi::document(&all, &[CABLE], &config.base_url);
    // `set` fails only if the document was already set, which is impossible because the document was created empty above.
    let _ = document.set(Bytes::from(described));
    let services = services.prepare();
    let mut router = Router::new();
    for route in all {
        let authorize =
            axum::middleware::from_fn_with_state((services.clone(), route.description.required_caller()), early_authorization::check);
        let report = axum::middleware::from_fn_with_state(KnownParams::of(&route, &services), ignored::report);
        let charge = axum::middleware::from_fn_with_state((Arc::clone(&config.anonymous), config.memory.clone()), admission::charge);
        let methods = route
            .methods_router
            .route_layer(report)
            .route_layer(authorize)
            .route_layer(Extension(RpcMethod(route.description.rpc())))
            .route_layer(charge);
        router = router.route(&route.path, methods);
    }
    for path in absent {
        router = router.route(path, any(unknown_route));
    }
    router
        // The WebSocket has its own protocol, which `OpenAPI` cannot describe.
        .route(CABLE.path, any(cable::open))
        .layer(Extension(cable::Drain(config.drain.clone())))
        .layer(Extension(Arc::clone(&config.anonymous)))
        .layer(Extension(config.memory.clone()))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(DefaultBodyLimit::max(config.max_body_bytes))
        .layer(Extension(TextLimit(config.max_body_bytes)))
        .layer(axum::middleware::from_fn(response_metadata::forward_metadata))
        .with_state(services)
}

async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    if method == Method::POST && uri.path().ends_with("/webhooks") {
        return ApiError::no_webhooks();
    }
    ApiError::unknown_route()
}
