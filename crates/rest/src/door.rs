//! The table of routes: each is registered together with its description, so none is served that is not described.
//!
//! Here PUT and PATCH become the same; other spellings of a path are the business of `paths`. What a description says lives in `openapi`.

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use tonic::service::Routes;

use crate::openapi::about::{About, Caller};

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
    pub(crate) methods_router: MethodRouter<Routes>,
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
}
