//! Chatwoot routes that Parley does not serve, with their alternatives, as listed in `docs/json-api-coverage.md`. The page is compiled into
//! the program.

use super::page;

/// The documentation page that lists the routes in tables.
const PAGE: &str = include_str!("../../../docs/json-api-coverage.md");

/// A Chatwoot route that Parley does not serve.
#[derive(Debug)]
pub struct Unserved {
    /// The method. `None` matches any method.
    method: Option<String>,
    /// The path as listed on the page, with a trailing `/**` if it includes all paths below it.
    pub path: String,
    /// The documented alternative.
    pub instead: String,
}

/// All routes that the page lists as not served.
#[derive(Debug)]
pub struct Coverage(Vec<Unserved>);

impl Coverage {
    /// Parses the routes from the page.
    pub fn new() -> Self {
        let mut all = Vec::new();
        for heading in ["Not served", "Not in Chatwoot's description"] {
            for row in page::rows(page::section(PAGE, heading)) {
                let [_, routes, instead, ..] = row.as_slice() else { continue };
                for route in routes.split(", ") {
                    let (method, path) = match route.split_once(' ') {
                        Some((method, path)) => (Some(method.to_owned()), path),
                        None => (None, route),
                    };
                    if path.starts_with('/') {
                        all.push(Unserved {
                            method,
                            path: path.to_owned(),
                            instead: instead.clone(),
                        });
                    }
                }
            }
        }
        Self(all)
    }

    /// Returns the listed route that matches a call, or the most specific one if several match. `path` must be normalized.
    pub fn find(&self, method: &str, path: &str) -> Option<&Unserved> {
        // Chatwoot treats PUT like PATCH, and HEAD like GET.
        let method = match method {
            "PUT" => "PATCH",
            "HEAD" => "GET",
            method => method,
        };
        let of_method = self.0.iter().filter(|route| match route.method.as_deref() {
            None => true,
            Some("PUT") => method == "PATCH",
            Some(wanted) => wanted == method,
        });
        of_method
            .filter_map(|route| Some((literals(&route.path, path)?, route)))
            .max_by_key(|(literals, _)| *literals)
            .map(|(_, route)| route)
    }

    /// Returns the paths of all listed routes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|route| route.path.as_str())
    }
}

/// Returns how specific a pattern is, or `None` if it does not match `path`. Each literal segment adds two, and the absence of a trailing
/// wildcard adds one.
fn literals(pattern: &str, path: &str) -> Option<usize> {
    let (start, is_open) = match pattern.strip_suffix("/**") {
        Some(start) => (start, true),
        None => (pattern, false),
    };
    let mut parts = path.split('/');
    let mut named = usize::from(!is_open);
    for wanted in start.split('/') {
        let part = parts.next()?;
        if wanted == part {
            named += 2;
        } else if !wanted.starts_with('{') || part.is_empty() {
            return None;
        }
    }
    (is_open || parts.next().is_none()).then_some(named)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use parley_rest::route_table::RouteTable;

    #[test]
    fn finds_the_most_specific_route() {
        let coverage = Coverage::new();
        assert!(coverage.0.len() > 80, "the tables are whole: {}", coverage.0.len());
        for (method, path, found) in [
            (
                "POST",
                "/api/v1/accounts/1/webhooks",
                Some("/api/v1/accounts/{account_id}/webhooks"),
            ),
            (
                "PUT",
                "/api/v1/accounts/1/webhooks/3",
                Some("/api/v1/accounts/{account_id}/webhooks/{webhook_id}"),
            ),
            ("POST", "/api/v1/accounts/1/webhooks/3", None),
            (
                "POST",
                "/api/v1/accounts/1/macros/4/execute",
                Some("/api/v1/accounts/{account_id}/macros/**"),
            ),
            ("GET", "/api/v1/accounts/1/macros", Some("/api/v1/accounts/{account_id}/macros/**")),
            (
                "GET",
                "/api/v2/accounts/1/reports/summary",
                Some("/api/v2/accounts/{account_id}/reports/summary"),
            ),
            ("GET", "/api/v2/accounts/1/live_reports/x", Some("/api/v2/accounts/{account_id}/**")),
            ("POST", "/auth/sign_in", Some("/auth/**")),
            ("GET", "/api/v1/accounts/1/nothing", None),
            ("GET", "", None),
        ] {
            assert_eq!(
                coverage.find(method, path).map(|route| route.path.as_str()),
                found,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn listed_routes_are_not_served() {
        let table = RouteTable::new();
        for route in Coverage::new().0.iter().filter(|route| !route.path.ends_with("/**")) {
            assert!(!route.instead.is_empty(), "{route:?}");
            let path: Vec<&str> = route
                .path
                .split('/')
                .map(|part| if part.starts_with('{') { "7" } else { part })
                .collect();
            let any = [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE];
            for method in any {
                let is_meant = route.method.as_deref().is_none_or(|wanted| wanted == method.as_str());
                assert!(
                    !is_meant || table.find(&method, &path.join("/")).is_none(),
                    "{method} {} is served, and docs/json-api-coverage.md still lists it",
                    route.path
                );
            }
        }
    }
}
