//! The table of routes. Each route is registered together with its `OpenAPI` description, so there are no undocumented routes.
//!
//! PUT and PATCH are treated alike here. `paths` handles alternative spellings of paths, and `openapi` defines the descriptions.

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use tonic::service::Routes;

use crate::openapi::route_description::{Caller, RouteDescription};

const UPDATES: &[Method] = &[Method::PATCH, Method::PUT];

/// A route with its `OpenAPI` description.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path of the route, in the syntax that axum and `OpenAPI` share.
    pub path: String,
    /// The HTTP methods that the route accepts.
    pub methods: &'static [Method],
    /// The `OpenAPI` tag of the route.
    pub tag: &'static str,
    /// The `OpenAPI` description of the route.
    pub description: RouteDescription,
    pub(crate) methods_router: MethodRouter<Routes>,
}

impl Route {
    /// Whether the route updates a resource that belongs to an account.
    pub fn is_account_update(&self) -> bool {
        self.methods == UPDATES && matches!(self.description.required_caller(), Caller::Member | Caller::Administrator)
    }
}

/// A table of routes, which contains either the routes with one tag or all routes of the API.
#[derive(Debug)]
pub struct ApiRouter {
    tag: &'static str,
    routes: Vec<Route>,
}

impl ApiRouter {
    /// Creates an empty table. Routes added to the table have the tag `tag`.
    pub fn new(tag: &'static str) -> Self {
        Self { tag, routes: Vec::new() }
    }

    /// Adds a read-only route for GET requests.
    #[must_use]
    pub fn get<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, description: RouteDescription) -> Self {
        self.add(path, &[Method::GET], on(MethodFilter::GET, handler), description)
    }

    /// Adds a route that creates a resource or performs an action.
    #[must_use]
    pub fn post<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, description: RouteDescription) -> Self {
        self.add(path, &[Method::POST], on(MethodFilter::POST, handler), description)
    }

    /// Adds a route that updates a resource, by PATCH or PUT, which are equivalent.
    #[must_use]
    pub fn update<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, description: RouteDescription) -> Self {
        let filter = MethodFilter::PATCH.or(MethodFilter::PUT);
        self.add(path, UPDATES, on(filter, handler), description)
    }

    /// Adds a route that deletes a resource.
    #[must_use]
    pub fn delete<H: Handler<T, Routes>, T: 'static>(self, path: &str, handler: H, description: RouteDescription) -> Self {
        self.add(path, &[Method::DELETE], on(MethodFilter::DELETE, handler), description)
    }

    /// Returns all routes that were added to this router.
    pub fn into_routes(self) -> Vec<Route> {
        self.routes
    }

    fn add(mut self, path: &str, methods: &'static [Method], methods_router: MethodRouter<Routes>, description: RouteDescription) -> Self {
        self.routes.push(Route {
            path: path.to_owned(),
            methods,
            tag: self.tag,
            description,
            methods_router,
        });
        self
    }

    /// Appends the routes of another router.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }
}
