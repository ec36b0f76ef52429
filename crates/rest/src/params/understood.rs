//! The names that a route understands, by its description, and which names of a request are not among them.
//!
//! Only the names of parameters are looked at, and those right under a root key; what lies deeper belongs to the value. `ignored` compares
//! requests that are served; `route_table` those of somebody else's log.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::openapi::About;

/// Names that are kept of one request, at most.
pub(crate) const NAMES: usize = 20;

/// The names that one route understands.
#[derive(Debug)]
pub(crate) struct Names {
    /// Parameters of the body, which may stand in the query too.
    pub body: Vec<&'static str>,
    pub query: Vec<&'static str>,
    pub path: BTreeSet<String>,
    /// The key that may be around the body.
    pub root: Option<&'static str>,
}

/// Names of a request that its route does not understand.
#[derive(Debug, Default)]
pub struct Ignored {
    /// The first of them.
    pub names: Vec<String>,
    /// Whether there are others.
    pub more: bool,
}

impl Ignored {
    pub(crate) fn add(&mut self, name: impl FnOnce() -> String) {
        if self.names.len() < NAMES {
            self.names.push(name());
        } else {
            self.more = true;
        }
    }
}

/// How a request compares with what its route understands.
#[derive(Debug)]
pub(crate) struct Compared {
    pub ignored: Ignored,
    /// Whether its body holds names that are not understood, and nothing that is: as an update it would change nothing.
    pub changes_nothing: bool,
}

impl Names {
    /// By the path and the description of a route.
    pub fn of(path: &str, about: &About) -> Self {
        Self {
            body: about.body_names().collect(),
            query: about.query_names().collect(),
            path: parameters(path).map(str::to_owned).collect(),
            root: about.root_key(),
        }
    }

    pub fn knows(&self, name: &str) -> bool {
        self.body.contains(&name) || self.query.contains(&name) || self.path.contains(name)
    }

    /// Whether an object of the body holds anything that is understood, besides what the path says anyway.
    fn is_understood(&self, map: &Map<String, Json>) -> bool {
        self.body.iter().any(|name| map.contains_key(*name))
    }

    /// Compares the names of a body and a query. `has_files` says whether the body carried files.
    pub fn compare(&self, body: &Map<String, Json>, has_files: bool, query: &Map<String, Json>) -> Compared {
        let mut ignored = Ignored::default();
        let root = self.root.and_then(|root| Some((root, body.get(root)?)));
        let mut holds_other = false;
        let is_understood = match root {
            Some((root, Json::Object(inner))) if !inner.is_empty() => {
                for name in inner.keys().filter(|name| !self.body.contains(&name.as_str())) {
                    holds_other = true;
                    ignored.add(|| format!("{root}[{name}]"));
                }
                for name in body.keys() {
                    let name = name.as_str();
                    if name != root && !self.query.contains(&name) && !self.path.contains(name) {
                        ignored.add(|| name.to_owned());
                    }
                }
                self.is_understood(inner)
            }
            _ => {
                for name in body.keys() {
                    if !self.knows(name) && self.root != Some(name.as_str()) {
                        holds_other = true;
                        ignored.add(|| name.clone());
                    }
                }
                // A root key that is missing or holds nothing is refused by its reader, and a file by the handler.
                self.root.is_some() || has_files || self.is_understood(body)
            }
        };
        for name in query.keys().filter(|name| !self.knows(name) && !body.contains_key(*name)) {
            ignored.add(|| name.clone());
        }
        Compared {
            changes_nothing: holds_other && !is_understood && !self.is_understood(query),
            ignored,
        }
    }
}

/// The names of a path's parameters.
pub(crate) fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// Whether a parameter of a path is a number. Ids are, and identifiers are texts.
pub(crate) fn is_id(parameter: &str) -> bool {
    parameter == "id" || parameter.ends_with("_id")
}
