//! The routes of the JSON API as a table, without services behind them: for commands that compare the calls of a log with what is served.
//!
//! It is made of the declarations that the server routes with, normalises paths as the server does, and matches them by the library that
//! axum matches with.

use std::fmt;

use axum::http::Method;
use serde_json::{Map, Value as Json};

use crate::{
    ABSENT,
    layers::paths,
    openapi,
    params::understood::{Ignored, Names, is_id},
    routes,
    routing::CABLE,
};

/// Every route that is served.
pub struct RouteTable {
    routes: Vec<Entry>,
    /// The routes of each path, by their place in `routes`. None at all for a path that only looks as if it held an id.
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
    /// Empty: any method.
    methods: &'static [Method],
    names: Names,
    /// Whether a body of which nothing is understood is refused.
    refuses_no_change: bool,
}

impl Entry {
    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method) || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}

/// The route that a call leads to.
#[derive(Clone, Copy, Debug)]
pub struct Found<'table> {
    entry: &'table Entry,
}

/// The names of a call that its route ignores.
#[derive(Debug)]
pub struct Difference {
    /// The names, as the header `Parley-Ignored` has them.
    pub ignored: Ignored,
    /// Whether the call is refused because all that its body holds is ignored.
    pub is_refused: bool,
}

impl<'table> Found<'table> {
    /// The path with the names of its parameters, such as `/api/v1/accounts/{account_id}/labels`.
    pub fn path(self) -> &'table str {
        &self.entry.path
    }

    /// Compares the parameters of a call with those of the route. `has_files` says whether its body carried files.
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
    /// Builds the table.
    pub fn new() -> Self {
        let described = routes().merge(openapi::routes(&openapi::Document::default())).into_routes();
        let described = described.into_iter().map(|route| Entry {
            names: Names::of(&route.path, &route.about),
            refuses_no_change: route.is_account_update(),
            path: route.path,
            methods: route.methods,
        });
        let cable = Entry {
            names: Names::of(CABLE.path, &openapi::about("", "")),
            refuses_no_change: false,
            path: CABLE.path.to_owned(),
            methods: &[],
        };
        let mut paths: Vec<(String, Vec<usize>)> = ABSENT.iter().map(|path| ((*path).to_owned(), Vec::new())).collect();
        let routes: Vec<Entry> = described.chain([cable]).collect();
        for (place, route) in routes.iter().enumerate() {
            match paths.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, places)) => places.push(place),
                None => paths.push((route.path.clone(), vec![place])),
            }
        }
        let mut by_path = matchit::Router::default();
        for (path, places) in paths {
            // Two paths that match the same requests would keep the server from starting; here the second is not found, and a test says so.
            let _ = by_path.insert(path, places);
        }
        Self { routes, by_path }
    }

    /// The route that a call leads to, if there is one. `path` is as it was sent, without a query.
    pub fn find(&self, method: &Method, path: &str) -> Option<Found<'_>> {
        let path = paths::normal(path);
        let matched = self.by_path.at(&path).ok()?;
        if matched.params.iter().any(|(name, value)| is_id(name) && !is_number(value)) {
            return None;
        }
        let mut entries = matched.value.iter().map(|place| &self.routes[*place]);
        entries.find(|entry| entry.takes(method)).map(|entry| Found { entry })
    }

    /// Method and path of every route. None in place of a method: the route takes all of them.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&'static Method>, &str)> {
        self.routes.iter().flat_map(|route| {
            let any = route.methods.is_empty().then_some((None, route.path.as_str()));
            any.into_iter()
                .chain(route.methods.iter().map(|method| (Some(method), route.path.as_str())))
        })
    }
}

/// The path of a call as the server routes it: repeated slashes, the one at the end, and `.json` are dropped.
pub fn normalize(path: &str) -> String {
    paths::normal(path).into_owned()
}

/// Whether a part of a path can be an id at all.
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
    fn finds_every_route_that_is_declared() {
        let table = RouteTable::new();
        assert!(table.iter().count() > 100, "the table is whole");
        for (method, path) in table.iter() {
            let sent: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "7" } else { part }).collect();
            let found = table.find(method.unwrap_or(&Method::GET), &sent.join("/"));
            assert_eq!(found.map(Found::path), Some(path), "{method:?}");
        }
    }

    #[test]
    fn matches_as_the_server_routes() {
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
    fn names_what_the_header_would_name() {
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
