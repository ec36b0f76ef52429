//! The table of routes: each is registered together with its description, so none is served that is not described.
//!
//! Here PUT and PATCH become the same; other spellings of a path are the business of `paths`. What a description says lives in `openapi`.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    http::{Method, Uri},
    routing::{MethodFilter, MethodRouter, any, on},
};
use bytes::Bytes;
use tonic::service::Routes;

use super::{
    admission, cable,
    call::Behind,
    early,
    error::Failure,
    ignored::{self, Understood},
    multipart::TextLimit,
    openapi::{self, About, Caller, Endpoint},
    position,
};

/// Action Cable: anyone may open the WebSocket, and hears nothing before a subscription.
pub(super) const CABLE: Endpoint = Endpoint {
    path: "/cable",
    caller: Caller::Anyone,
    credential: "a pubsub token in each subscription",
};

const UPDATES: &[Method] = &[Method::PATCH, Method::PUT];

/// One route, described.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path in axum's spelling, which is `OpenAPI`'s too.
    pub path: String,
    /// What it is called with.
    pub methods: &'static [Method],
    /// The heading it stands under.
    pub tag: &'static str,
    /// What is told of it.
    pub about: About,
    methods_router: MethodRouter<Routes>,
}

impl Route {
    /// Whether it changes something of an account.
    pub fn is_account_update(&self) -> bool {
        self.methods == UPDATES && matches!(self.about.required_caller(), Caller::Member | Caller::Administrator)
    }
}

/// Routes under one heading, or all of them.
#[derive(Debug)]
pub struct Door {
    tag: &'static str,
    routes: Vec<Route>,
}

impl Door {
    /// No routes yet; those that are added stand under the heading `tag`.
    pub fn new(tag: &'static str) -> Self {
        Self { tag, routes: Vec::new() }
    }

    /// A route that reads.
    #[must_use]
    pub fn get<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, about: About) -> Self {
        self.add(path, &[Method::GET], on(MethodFilter::GET, handler), about)
    }

    /// A route that makes or does something.
    #[must_use]
    pub fn post<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, about: About) -> Self {
        self.add(path, &[Method::POST], on(MethodFilter::POST, handler), about)
    }

    /// A route that changes something: by PATCH and by PUT, which are the same.
    #[must_use]
    pub fn update<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, about: About) -> Self {
        let filter = MethodFilter::PATCH.or(MethodFilter::PUT);
        self.add(path, UPDATES, on(filter, handler), about)
    }

    /// A route that deletes.
    #[must_use]
    pub fn delete<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, about: About) -> Self {
        self.add(path, &[Method::DELETE], on(MethodFilter::DELETE, handler), about)
    }

    /// The routes so far.
    pub fn into_routes(self) -> Vec<Route> {
        self.routes
    }

    fn add(mut self, path: &str, methods: &'static [Method], methods_router: MethodRouter<Routes>, about: About) -> Self {
        self.routes.push(Route {
            path: path.to_owned(),
            methods,
            tag: self.tag,
            about,
            methods_router,
        });
        self
    }

    /// These routes and the others'.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// The door with its description, over services. What lies at `absent` is no route, though a route with an id in its place is.
    pub fn open(self, services: Routes, config: &super::Config, absent: &[&str]) -> Router {
        let document = openapi::Document::default();
        let all = self.merge(openapi::routes(&document));
        let described = openapi::document(&all.routes, &[CABLE], &config.base_url);
        // Nobody has set it before: it was made three lines above.
        let _ = document.set(Bytes::from(described));
        let services = services.prepare();
        let mut router = Router::new();
        for route in all.routes {
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
}

async fn unknown_route(method: Method, uri: Uri) -> Failure {
    if method == Method::POST && uri.path().ends_with("/webhooks") {
        return Failure::no_webhooks();
    }
    Failure::unknown_route()
}
