//! Collects the known parameter names of a route from its description, and finds the unknown names in a request.
//!
//! Only top-level names and names directly under a root key are checked; deeper names belong to the value of a parameter. `ignored`
//! checks requests as they are served, and `route_table` checks calls in a recorded log.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::openapi::RouteDescription;

/// Maximum number of unknown parameter names recorded per request.
pub(crate) const NAMES: usize = 20;

/// The known parameter names of one route.
#[derive(Debug)]
pub(crate) struct KnownNames {
    /// Names of the body's parameters, which are also accepted in the query.
    pub body: Vec<&'static str>,
    pub query: Vec<&'static str>,
    pub path: BTreeSet<String>,
    /// The root key that may wrap the body.
    pub root: Option<&'static str>,
}

/// The parameters of a request that its route does not recognize.
#[derive(Debug, Default)]
pub struct Ignored {
    /// The first [`NAMES`] unknown parameter names in the request.
    pub names: Vec<String>,
    /// Whether the request has more unknown parameter names than `names` contains.
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

/// The result of comparing the parameters of a request with the known names of its route.
#[derive(Debug)]
pub(crate) struct Compared {
    pub ignored: Ignored,
    /// Whether the request has unknown names in its body and no known ones, so that an update would change nothing.
    pub changes_nothing: bool,
}

impl KnownNames {
    /// Collects the known names from the path and the description of a route.
    pub fn of(path: &str, description: &RouteDescription) -> Self {
        Self {
            body: description.body_names().collect(),
            query: description.query_names().collect(),
            path: parameters(path).map(str::to_owned).collect(),
            root: description.root_key(),
        }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.body.contains(&name) || self.query.contains(&name) || self.path.contains(name)
    }

    /// Returns whether an object contains a known name of a body parameter. Names of path parameters do not count.
    fn has_known(&self, map: &Map<String, Json>) -> bool {
        self.body.iter().any(|name| map.contains_key(*name))
    }

    /// Compares the parameter names of a request's body and query with the known names. `has_files` is whether the body contained files.
    pub fn compare(&self, body: &Map<String, Json>, has_files: bool, query: &Map<String, Json>) -> Compared {
        let mut ignored = Ignored::default();
        let root = self.root.and_then(|root| Some((root, body.get(root)?)));
        let mut holds_other = false;
        let has_known = match root {
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
                self.has_known(inner)
            }
            _ => {
                for name in body.keys() {
                    if !self.contains(name) && self.root != Some(name.as_str()) {
                        holds_other = true;
                        ignored.add(|| name.clone());
                    }
                }
                // Do not count a request with a missing or empty root key, or with a file, as an update without known parameters: such a
                // root key is rejected when it is read, and the handler rejects the file.
                self.root.is_some() || has_files || self.has_known(body)
            }
        };
        for name in query.keys().filter(|name| !self.contains(name) && !body.contains_key(*name)) {
            ignored.add(|| name.clone());
        }
        Compared {
            changes_nothing: holds_other && !has_known && !self.has_known(query),
            ignored,
        }
    }
}

/// Returns the parameter names of a path template.
pub(crate) fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// Returns whether a path parameter must be a number. Ids are numbers, whereas identifiers are not.
pub(crate) fn is_id(parameter: &str) -> bool {
    parameter == "id" || parameter.ends_with("_id")
}
