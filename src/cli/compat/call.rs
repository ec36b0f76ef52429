//! One call, as recorded in a log or a HAR file. It is never printed directly; `judge` decides what appears in the report.

use axum::http::Method;
use serde_json::{Map, Value as Json};

/// Maximum number of bytes of a query that are examined. In a HAR file, a query can be as long as a body.
const MAX_QUERY_BYTES: usize = 64 * 1024;

/// Maximum number of parameters that are examined in a query or a form.
pub const MAX_PARAMETERS: usize = 1000;

/// The name under which parameters without a value are stored.
pub const UNNAMED: &str = "?";

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// A standard HTTP method.
    pub method: Method,
    /// The target host, in lower case and without the port, if the source records it.
    pub host: Option<String>,
    /// The path as sent by the client.
    pub path: String,
    /// The query parameters, keyed by the part of their names before the first bracket.
    pub query: Map<String, Json>,
    /// The status of the response, if recorded.
    pub status: Option<u16>,
    /// The parameters of the body. `None` if the source does not record bodies, or if the parameters cannot be determined.
    pub body: Option<Body>,
}

/// The parameters of a request body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// The parameters, keyed by the part of their names before the first bracket.
    pub map: Map<String, Json>,
    /// Whether the body contained files.
    pub has_files: bool,
}

impl Call {
    /// Creates a call from the method, the target and the status that a log records.
    ///
    /// # Errors
    /// Returns a description of what is wrong, without quoting the line.
    pub fn new(method: &str, target: &str, status: Option<u16>) -> Result<Self, &'static str> {
        let method = known_method(method).ok_or("the method is not an HTTP method")?;
        let (host, target) = match split_absolute(target) {
            Some((host, target)) => (host, target),
            None => (None, target),
        };
        if !target.starts_with(['/', '*', '?']) && !target.is_empty() {
            return Err("the request target is not a path");
        }
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self {
            method,
            host,
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            query: parameters(query),
            status,
            body: None,
        })
    }

    /// Creates a call from a request line, which contains the method, the target, and usually the HTTP version.
    ///
    /// # Errors
    /// Returns a description of what is wrong, without quoting the line.
    pub fn of_request_line(line: &str, status: Option<u16>) -> Result<Self, &'static str> {
        let (method, rest) = line.trim().split_once(' ').ok_or("the request is empty or not HTTP")?;
        let target = match rest.rsplit_once(' ') {
            Some((target, version)) if version.starts_with("HTTP/") => target,
            _ => rest,
        };
        Self::new(method, target.trim(), status)
    }
}

/// Parses a standard HTTP method. Other methods are rejected, so that arbitrary text is never printed as a method.
fn known_method(method: &str) -> Option<Method> {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    methods.into_iter().find(|one| one.as_str() == method)
}

/// Splits an absolute URL into its host and the rest. Returns `None` if the target is not an absolute URL.
fn split_absolute(target: &str) -> Option<(Option<String>, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https", "ws", "wss"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    Some((host_of(host), target))
}

/// Returns the host in lower case, without its port.
pub fn host_of(text: &str) -> Option<String> {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Parses the parameters of a query or a URL-encoded form, keyed by the part of their names before the first bracket. Names are split in
/// the same way as on the server. If a name is repeated, the first value is kept.
///
/// A parameter without a value (`?abc`) is stored as [`UNNAMED`], because its name might be a token that someone appended to a URL.
pub fn parameters(encoded: &str) -> Map<String, Json> {
    let mut found = Map::new();
    let encoded = &encoded[..encoded.floor_char_boundary(MAX_QUERY_BYTES)];
    for part in encoded.split('&').filter(|part| !part.is_empty()).take(MAX_PARAMETERS) {
        if part.contains('=') {
            for (name, value) in form_urlencoded::parse(part.as_bytes()) {
                put(&mut found, &name, value.into_owned());
            }
        } else {
            put(&mut found, UNNAMED, String::new());
        }
    }
    found
}

/// Stores a parameter at the position that its name describes: `contact[name]` becomes the key `name` inside `contact`. Deeper levels of
/// the name are ignored.
pub fn put(map: &mut Map<String, Json>, name: &str, value: String) {
    let (first, rest) = name.split_once('[').unwrap_or((name, ""));
    let below = rest.split(']').next().unwrap_or_default();
    if below.is_empty() {
        map.entry(first).or_insert(Json::String(value));
    } else if let Json::Object(inner) = map.entry(first).or_insert_with(|| Json::Object(Map::new())) {
        inner.entry(below).or_insert(Json::String(value));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_targets() {
        for (target, host, path, query) in [
            ("/a/b?c=1&d[]=2&e[f]=3", None, "/a/b", json!({"c": "1", "d": "2", "e": {"f": "3"}})),
            (
                "https://Chat.example.org:443/a?x=%C3%A4",
                Some("chat.example.org"),
                "/a",
                json!({"x": "ä"}),
            ),
            ("wss://chat.example.org/cable", Some("chat.example.org"), "/cable", json!({})),
            ("http://user:secret@host", Some("host"), "/", json!({})),
            ("http://[::1]:8080/a#b?c", Some("[::1]"), "/a", json!({})),
            ("*", None, "*", json!({})),
        ] {
            let call = Call::new("GET", target, None).expect("a call");
            assert_eq!(
                (call.host.as_deref(), call.path.as_str(), Json::Object(call.query)),
                (host, path, query),
                "{target}"
            );
        }
        for (method, target) in [("SECRET", "/"), ("get", "/"), ("GET", "host:443"), ("GET", "data:text/plain,x")] {
            assert!(Call::new(method, target, None).is_err(), "{method} {target}");
        }
    }

    #[test]
    fn reads_request_lines() {
        for (line, path) in [("GET /a HTTP/1.1", "/a"), ("GET /a", "/a"), ("GET /a b HTTP/2.0", "/a b")] {
            assert_eq!(Call::of_request_line(line, None).expect("a call").path, path);
        }
        for line in ["", "-", "GET", "\\x16\\x03 x"] {
            assert!(Call::of_request_line(line, None).is_err(), "{line}");
        }
    }
}
