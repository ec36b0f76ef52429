//! Reports parameters that a route does not recognize. They are accepted, as in Chatwoot, and named in the response header
//! `Parley-Ignored`. A request to update a resource of an account is rejected instead if all its parameters are unknown, because the caller
//! would take a 200 response to mean that something was changed.
//!
//! The known parameters of a route are the ones in its description (see `known_params`).

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value as Json};
use tonic::service::Routes;

use crate::{
    api_router::Route,
    params::known_params::{Ignored, KnownNames},
};

const HEADER: HeaderName = HeaderName::from_static("parley-ignored");

/// Maximum bytes of the `Parley-Ignored` header, not counting the final `...` that stands for omitted names.
const BYTES: usize = 1024;
/// Maximum length, in characters, of one parameter name in the `Parley-Ignored` header.
const NAME: usize = 100;

/// The characters that are percent-encoded in the `Parley-Ignored` header: everything except letters, digits, `_`, `-`, `.`, `[` and `]`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.').remove(b'[').remove(b']');

/// The known parameters of one route, and whether the route rejects updates without any of them.
#[derive(Debug)]
pub struct KnownParams {
    names: KnownNames,
    /// The services with which to authorize the caller before an update without known parameters is rejected. `None` if the route does not
    /// reject such updates.
    refusing: Option<Routes>,
}

impl KnownParams {
    /// Collects the known parameters from the route's description.
    pub fn of(route: &Route, services: &Routes) -> Arc<Self> {
        Arc::new(Self {
            names: KnownNames::of(&route.path, &route.description),
            refusing: route.is_account_update().then(|| services.clone()),
        })
    }

    /// Returns the known parameters of the request body.
    pub fn body(&self) -> &[&'static str] {
        &self.names.body
    }
}

/// Returns the `Parley-Ignored` header, which names the ignored parameters, or `None` if there are none.
fn header(ignored: &Ignored) -> Option<HeaderValue> {
    let mut text = String::new();
    let mut is_cut = ignored.more;
    for name in &ignored.names {
        let start: String = name.chars().take(NAME).collect();
        let escaped = utf8_percent_encode(&start, ESCAPED).to_string();
        if text.len() + escaped.len() + 2 > BYTES {
            is_cut = true;
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&escaped);
    }
    if is_cut {
        text.push_str(if text.is_empty() { "..." } else { ", ..." });
    }
    HeaderValue::from_str(&text).ok().filter(|value| !value.is_empty())
}

/// Compares the parameters of a request with the known parameters of its route. Stored in the request's extensions.
#[derive(Clone, Debug)]
pub struct Comparison {
    known_params: Arc<KnownParams>,
    /// The ignored parameters, or `None` until the parameters of the request are parsed.
    ignored: Arc<Mutex<Option<Ignored>>>,
}

impl Comparison {
    /// Returns the services with which to authorize the caller before an update without known parameters is rejected. `None` if the route
    /// does not reject such updates.
    pub fn refusing(&self) -> Option<&Routes> {
        self.known_params.refusing.as_ref()
    }

    /// Records the unknown names. Returns them if the request must be rejected because it is an update without known parameters.
    pub fn compare(&self, body: &Map<String, Json>, has_files: bool, query: &Map<String, Json>) -> Option<Vec<String>> {
        let compared = self.known_params.names.compare(body, has_files, query);
        let refused = compared.changes_nothing.then(|| compared.ignored.names.clone());
        *self.ignored.lock().unwrap_or_else(PoisonError::into_inner) = Some(compared.ignored);
        refused.filter(|_| self.known_params.refusing.is_some())
    }

    /// Returns the known parameters of the request's route.
    pub fn known_params(&self) -> &KnownParams {
        &self.known_params
    }

    /// Builds the `Parley-Ignored` header. If the handler did not parse the parameters, only the names in the query are compared with the
    /// known ones.
    fn header(&self, query: Option<&str>) -> Option<HeaderValue> {
        if let Some(ignored) = &*self.ignored.lock().unwrap_or_else(PoisonError::into_inner) {
            return header(ignored);
        }
        let mut ignored = Ignored::default();
        for (name, _) in form_urlencoded::parse(query?.as_bytes()) {
            let name = name.split('[').next().unwrap_or_default();
            if !self.known_params.names.contains(name) {
                ignored.add(|| name.to_owned());
            }
        }
        header(&ignored)
    }
}

/// Middleware that adds the `Parley-Ignored` header to the response.
pub async fn report(State(known_params): State<Arc<KnownParams>>, mut request: Request, next: Next) -> Response {
    let comparison = Comparison {
        known_params,
        ignored: Arc::default(),
    };
    let query = request.uri().query().map(str::to_owned);
    request.extensions_mut().insert(comparison.clone());
    let mut response = next.run(request).await;
    if let Some(value) = comparison.header(query.as_deref()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::params::known_params::NAMES;

    fn comparison(root: Option<&'static str>, refuses: bool) -> Comparison {
        let known_params = KnownParams {
            names: KnownNames {
                body: vec!["status", "name"],
                query: vec!["page"],
                path: BTreeSet::from(["id".to_owned()]),
                root,
            },
            refusing: refuses.then(Routes::default),
        };
        Comparison {
            known_params: Arc::new(known_params),
            ignored: Arc::default(),
        }
    }

    fn map(json: Json) -> Map<String, Json> {
        let Json::Object(map) = json else { panic!("an object") };
        map
    }

    /// The header, and the names if the update is rejected.
    fn compared(comparison: &Comparison, body: Json, query: Json) -> (String, Option<Vec<String>>) {
        let refused = comparison.compare(&map(body), false, &map(query));
        let header = comparison.header(None).map(|value| value.to_str().unwrap().to_owned());
        (header.unwrap_or_default(), refused)
    }

    #[test]
    fn reports_unknown_parameters() {
        let plain = comparison(None, false);
        assert_eq!(
            compared(&plain, json!({"name": 1, "id": 2, "page": 3}), json!({"status": 1})),
            (String::new(), None)
        );
        let some = compared(&plain, json!({"content": 1, "name": 1}), json!({"sort": 1, "content": 2}));
        assert_eq!(some, ("content, sort".to_owned(), None));
    }

    #[test]
    fn looks_under_the_root_key() {
        let rooted = comparison(Some("team"), true);
        let inner = json!({"team": {"name": 1, "color": 2}, "name": 3, "id": 4});
        assert_eq!(compared(&rooted, inner, json!({})).0, "team[color], name");
        assert_eq!(
            compared(&rooted, json!({"name": 1, "color": 2}), json!({})),
            ("color".to_owned(), None)
        );
        let refused = compared(&rooted, json!({"team": {"color": 2}}), json!({})).1;
        assert_eq!(refused.unwrap(), ["team[color]"]);
        assert_eq!(
            compared(&rooted, json!({"team": {}}), json!({})).1,
            None,
            "the reader of the root refuses it"
        );
    }

    #[test]
    fn refuses_updates_that_change_nothing() {
        let update = comparison(None, true);
        assert_eq!(compared(&update, json!({"content": 1}), json!({})).1.unwrap(), ["content"]);
        assert_eq!(compared(&update, json!({"content": 1, "id": 2}), json!({})).1.unwrap(), ["content"]);
        for (body, query) in [
            (json!({}), json!({"content": 1})),
            (json!({"id": 1}), json!({})),
            (json!({"content": 1, "status": "unknown"}), json!({})),
            (json!({"content": 1}), json!({"status": "read"})),
        ] {
            assert_eq!(compared(&update, body.clone(), query).1, None, "{body}");
        }
        assert_eq!(compared(&comparison(None, false), json!({"content": 1}), json!({})).1, None);
    }

    #[test]
    fn bounds_and_escapes_the_header() {
        let plain = comparison(None, false);
        let odd = compared(&plain, json!({"a b\r\nx: y,ä": 1}), json!({})).0;
        assert_eq!(odd, "a%20b%0D%0Ax%3A%20y%2C%C3%A4");
        let many: Map<String, Json> = (0..1000).map(|number| (format!("n{number}"), json!(1))).collect();
        let many = compared(&plain, Json::Object(many), json!({})).0;
        assert_eq!((many.split(", ").count(), many.ends_with(", ...")), (NAMES + 1, true));
        let long: Map<String, Json> = (0..9).map(|number| (format!("{number}{}", "ä".repeat(5000)), json!(1))).collect();
        let long = compared(&plain, Json::Object(long), json!({})).0;
        assert!(long.len() <= BYTES + 5 && long.ends_with("..."), "{}", long.len());
    }
}
