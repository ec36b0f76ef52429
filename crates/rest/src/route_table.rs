//! A table of the JSON API's routes that needs no running services, for commands that compare recorded calls with the routes that Parley
//! serves.
//!
//! The table is built from the same declarations as the server's router, normalizes paths in the same way, and uses the same matching
//! library as axum.

use std::fmt;

use axum::http::Method;
use serde_json::{Map, Value as Json};

use crate::{
    UNIMPLEMENTED_PATHS,
    layers::paths,
    openapi,
    params::known_params::{Ignored, KnownNames, is_id},
    routes,
    routing::CABLE,
};

/// A lookup table of all routes that Parley serves.
pub struct RouteTable {
    routes: Vec<Entry>,
    /// The indices into `routes` for each path. The list is empty for a path that is not served although it matches a path with an id.
    by_path: matchit::Router<Vec<usize>>,
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable").field("routes", &self.routes).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Entry {
    path: String,
    /// The methods that the route accepts. Empty if it accepts any method.
    methods: &'static [Method],
    names: KnownNames,
    /// Whether the route rejects a body without known parameters.
    refuses_no_change: bool,
}

impl Entry {
    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method) || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}

/// The route that serves a call.
#[derive(Clone, Copy, Debug)]
pub struct Found<'table> {
    entry: &'table Entry,
}

/// The differences between the parameters of a call and the parameters that its route recognizes.
#[derive(Debug)]
pub struct Difference {
    /// The unknown names, as the `Parley-Ignored` header lists them.
    pub ignored: Ignored,
    /// Whether the call is rejected because its body has only unknown names.
    pub is_refused: bool,
}

impl<'table> Found<'table> {
    /// Returns the path template of the route, such as `/api/v1/accounts/{account_id}/labels`.
    pub fn path(self) -> &'table str {
        &self.entry.path
    }

    /// Compares the parameters of a call with the parameters that the route recognizes. `has_files` is whether the body of the call
    /// contained files.
    pub fn compare(self, body: &Map<String, Json>, has_files: bool, query: &Map<String, Json>) -> Difference {
        let compared = self.entry.names.compare(body, has_files, query);
        Difference {
            ignored: compared.ignored,
            is_refused: self.entry.refuses_no_change && compared.changes_nothing,
        }
    }
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteTable {
    /// Builds the table from the declarations of all routes.
    pub fn new() -> Self {
        let described = routes().merge(openapi::routes(&openapi::Document::default())).into_routes();
        let described = described.into_iter().map(|route| Entry {
            names: KnownNames::of(&route.path, &route.description),
            refuses_no_change: route.is_account_update(),
            path: route.path,
            methods: route.methods,
        });
        let cable = Entry {
            names: KnownNames::of(CABLE.path, &openapi::describe("", "")),
            refuses_no_change: false,
            path: CABLE.path.to_owned(),
            methods: &[],
        };
        let mut paths: Vec<(String, Vec<usize>)> = UNIMPLEMENTED_PATHS.iter().map(|path| ((*path).to_owned(), Vec::new())).collect();
        let routes: Vec<Entry> = described.chain([cable]).collect();
        for (index, route) in routes.iter().enumerate() {
            match paths.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, indices)) => indices.push(index),
                None => paths.push((route.path.clone(), vec![index])),
            }
        }
        let mut by_path = matchit::Router::default();
        for (path, indices) in paths {
            // A server with two conflicting paths would not start. Here the second path is left out, which a test detects.
            let _ = by_path.insert(path, indices);
        }
        Self { routes, by_path }
    }

    /// Returns the route of a call, or `None` if no route serves it. `path` is the path as sent, without the query.
    pub fn find(&self, method: &Method, path: &str) -> Option<Found<'_>> {
        let path = paths::normal(path);
        let matched = self.by_path.at(&path).ok()?;
        if matched.params.iter().any(|(name, value)| is_id(name) && !is_number(value)) {
            return None;
        }
        let mut entries = matched.value.iter().map(|index| &self.routes[*index]);
        entries.find(|entry| entry.takes(method)).map(|entry| Found { entry })
    }

    /// Returns the method and path of each route. The method is `None` if the route accepts any method.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&'static Method>, &str)> {
        self.routes.iter().flat_map(|route| {
            let any = route.methods.is_empty().then_some((None, route.path.as_str()));
            any.into_iter()
                .chain(route.methods.iter().map(|method| (Some(method), route.path.as_str())))
        })
    }
}

/// Normalizes the path of a call as the server does: merges repeated slashes, and drops a trailing slash and `.json`.
pub fn normalize(path: &str) -> String {
    paths::normal(path).into_owned()
}

/// Returns whether a path segment can be an id.
fn is_number(text: &str) -> bool {
    (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(json: Json) -> Map<String, Json> {
        let Json::Object(map) = json else { panic!("an object") };
        map
    }

    #[test]
    fn finds_every_declared_route() {
        let table = RouteTable::new();
        assert!(table.iter().count() > 100, "the table is whole");
        for (method, path) in table.iter() {
            let sent: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "7" } else { part }).collect();
            let found = table.find(method.unwrap_or(&Method::GET), &sent.join("/"));
            assert_eq!(found.map(Found::path), Some(path), "{method:?}");
        }
    }

    #[test]
    fn matches_like_the_router() {
        const CONTACT: &str = "/api/v1/accounts/{account_id}/contacts/{contact_id}";
        let table = RouteTable::new();
        for (method, path, found) in [
            (Method::GET, "//api/v1/accounts/1//contacts/7.json/", Some(CONTACT)),
            (Method::HEAD, "/api/v1/accounts/1/contacts/7", Some(CONTACT)),
            (Method::PUT, "/api/v1/accounts/1/contacts/7", Some(CONTACT)),
            (Method::POST, "/api/v1/accounts/1/contacts/7", None),
            (Method::GET, "/api/v1/accounts/1/contacts/ana", None),
            (Method::GET, "/api/v1/accounts/1/contacts/99999999999999999999", None),
            (Method::POST, "/api/v1/accounts/1/contacts/import", None),
            (Method::GET, "/cable", Some("/cable")),
            (Method::GET, "", None),
            (Method::GET, "*", None),
            (Method::GET, "/api/v1/accounts/{account_id}/contacts/{contact_id}", None),
        ] {
            assert_eq!(table.find(&method, path).map(Found::path), found, "{method} {path}");
        }
    }

    #[test]
    fn reports_the_names_in_the_ignored_header() {
        let table = RouteTable::new();
        let found = table.find(&Method::PATCH, "/api/v1/accounts/1/teams/3").expect("a route");
        let difference = found.compare(&map(json!({"team": {"color": 1}})), false, &map(json!({"sort": "name"})));
        assert_eq!(difference.ignored.names, ["team[color]", "sort"]);
        assert!(difference.is_refused);
        let found = table.find(&Method::GET, "/api/v1/accounts/1/conversations").expect("a route");
        let difference = found.compare(&Map::new(), false, &map(json!({"status": "open", "created_after": "1"})));
        assert_eq!(difference.ignored.names, ["created_after"]);
        assert!(!difference.is_refused);
    }
}
