//! The deliberate differences from Chatwoot, by route. Their descriptions come from `docs/json-api-differences.md`, which is compiled into
//! the program; this module defines the routes and parameters that each difference affects. A test checks that the page's rows and the
//! entries in this module correspond one to one.

mod account;
mod client;
mod entry;

use std::collections::HashMap;

use axum::http::Method;
use parley_rest::route_table::RouteTable;
use serde_json::{Map, Value as Json};

use super::page;
pub use entry::Applies;
use entry::Entry;

/// The documentation page with the descriptions.
const PAGE: &str = include_str!("../../../../docs/json-api-differences.md");

fn entries() -> impl Iterator<Item = &'static Entry> {
    account::ENTRIES.iter().chain(client::ENTRIES)
}

/// Abbreviations of path prefixes in entries, with the prefixes that they stand for.
const ROOTS: [(&str, &str); 3] = [
    ("A", "/api/v1/accounts/{}"),
    ("C", "/public/api/v1/inboxes/{}"),
    ("P", "/platform/api/v1"),
];

/// Returns whether an entry's pattern matches a route.
fn matches_route(pattern: &str, method: Option<&Method>, path: &str) -> bool {
    let Some((wanted, short)) = pattern.split_once(' ') else {
        return false;
    };
    if wanted != "*" && method.is_none_or(|method| method.as_str() != wanted) {
        return false;
    }
    let root = ROOTS.iter().find_map(|(letter, root)| Some((*root, short.strip_prefix(letter)?)));
    let whole = root.map_or_else(|| short.to_owned(), |(root, rest)| format!("{root}{rest}"));
    let (whole, is_open) = match whole.strip_suffix("/**") {
        Some(start) => (start, true),
        None => (whole.as_str(), false),
    };
    let mut parts = path.split('/');
    for wanted in whole.split('/') {
        let matches = parts
            .next()
            .is_some_and(|part| part == wanted || (wanted == "{}" && part.starts_with('{')));
        if !matches {
            return false;
        }
    }
    is_open || parts.next().is_none()
}

/// A documented difference from Chatwoot.
#[derive(Debug)]
pub struct Difference {
    /// The subject of the difference.
    pub matter: String,
    /// What Chatwoot does.
    pub chatwoot: String,
    /// What Parley does.
    pub parley: String,
    /// When the difference applies.
    pub applies: Applies,
    parameters: &'static [&'static str],
}

impl Difference {
    /// Returns whether the difference affects a call with these parameters.
    fn applies_to(&self, query: &Map<String, Json>, body: Option<&Map<String, Json>>) -> bool {
        let is_present = |parameter: &&str| {
            let (name, start) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = body.and_then(|body| body.get(name)).or_else(|| query.get(name));
            value.is_some_and(|value| start.is_empty() || value.as_str().is_some_and(|text| text.starts_with(start)))
        };
        match self.applies {
            Applies::Always | Applies::Sometimes => true,
            Applies::Parameter => self.parameters.iter().any(is_present),
            Applies::Elsewhere => false,
        }
    }
}

/// All differences, with the routes that they affect.
#[derive(Debug)]
pub struct Differences {
    all: Vec<Difference>,
    /// Indices into `all`, by path. Each is stored with the method of the affected route, or `None` if the route accepts any method.
    by_path: HashMap<String, Vec<(Option<&'static Method>, usize)>>,
}

impl Differences {
    /// Builds the differences for the routes of `table`.
    pub fn new(table: &RouteTable) -> Self {
        let mut found = Self {
            all: Vec::new(),
            by_path: HashMap::new(),
        };
        let rows: Vec<Vec<String>> = page::rows(PAGE).collect();
        for entry in entries() {
            let Some([matter, chatwoot, parley, ..]) = rows.iter().find(|row| entry.describes(&row[0])).map(Vec::as_slice) else {
                continue;
            };
            let index = found.all.len();
            found.all.push(Difference {
                matter: matter.clone(),
                chatwoot: chatwoot.clone(),
                parley: parley.clone(),
                applies: entry.applies,
                parameters: entry.parameters,
            });
            for (method, path) in table.iter() {
                if entry.routes.iter().any(|pattern| matches_route(pattern, method, path)) {
                    found.by_path.entry(path.to_owned()).or_default().push((method, index));
                }
            }
        }
        found
    }

    /// Returns a difference by its index.
    pub fn get(&self, index: usize) -> &Difference {
        &self.all[index]
    }

    /// Returns the indices of the differences that affect, or might affect, a call.
    pub fn of(&self, method: &Method, path: &str, query: &Map<String, Json>, body: Option<&Map<String, Json>>) -> Vec<usize> {
        let of_path = self.by_path.get(path).map(Vec::as_slice).unwrap_or_default();
        // Chatwoot treats HEAD like GET.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let of_method = of_path.iter().filter(|(wanted, _)| wanted.is_none_or(|wanted| wanted == method));
        of_method
            .map(|(_, index)| *index)
            .filter(|index| self.all[*index].applies_to(query, body))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_row_of_the_page_has_an_entry() {
        let rows: Vec<String> = page::rows(PAGE).map(|row| row[0].clone()).collect();
        let distinct: BTreeSet<&String> = rows.iter().collect();
        assert_eq!(
            distinct.len(),
            rows.len(),
            "two rows of docs/json-api-differences.md have the same first cell"
        );
        for row in &rows {
            let count = entries().filter(|entry| entry.describes(row)).count();
            assert_eq!(
                count, 1,
                "docs/json-api-differences.md: an entry in src/cli/compat/differences says what routes a row concerns: {row}"
            );
        }
        for entry in entries() {
            assert!(rows.iter().any(|row| entry.describes(row)), "its row is gone: {}", entry.matter);
        }
    }

    #[test]
    fn every_entry_matches_a_route() {
        let table = RouteTable::new();
        for entry in entries() {
            for pattern in entry.routes {
                assert!(
                    table.iter().any(|(method, path)| matches_route(pattern, method, path)),
                    "{}: no route is {pattern}",
                    entry.matter
                );
            }
            let takes_parameters = entry.applies == Applies::Parameter;
            assert_eq!(takes_parameters, !entry.parameters.is_empty(), "{}", entry.matter);
            assert_eq!(entry.applies == Applies::Elsewhere, entry.routes.is_empty(), "{}", entry.matter);
        }
    }

    #[test]
    fn parameters_match_by_name_and_prefix() {
        let table = RouteTable::new();
        let differences = Differences::new(&table);
        let matters = |query: Json| {
            let Json::Object(query) = query else { panic!("an object") };
            let path = "/api/v1/accounts/{account_id}/search/messages";
            let indexes = differences.of(&Method::GET, path, &query, None);
            let shown = indexes.into_iter().map(|index| differences.get(index));
            shown
                .filter(|one| one.applies == Applies::Parameter)
                .map(|one| one.matter.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(matters(json!({"q": "x", "from": "contact:1"})), Vec::<String>::new());
        assert_eq!(matters(json!({"from": "agent:1"})), ["from=agent:ID of a search for messages"]);
    }
}
