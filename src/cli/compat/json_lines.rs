//! Parses JSON logs with one object per line, as written by nginx (with a `log_format`), lograge, Caddy or Traefik, or by Docker, which
//! wraps lines of other formats.

use serde_json::{Map, Value as Json};

use super::{
    access_log::{self, Line},
    call::{Call, host_of, parameters},
    rails,
};

/// Keys under which logs record the method.
const METHOD_KEYS: &[&str] = &[
    "method",
    "request_method",
    "http_method",
    "verb",
    "RequestMethod",
    "http.request.method",
];
/// Keys under which logs record the path or the URL.
const TARGET_KEYS: &[&str] = &[
    "request_uri",
    "uri",
    "path",
    "url",
    "request_path",
    "RequestPath",
    "target",
    "url.path",
    "url.original",
];
/// Keys under which logs record a query that is separate from the path.
const QUERY_KEYS: &[&str] = &["args", "query_string", "query", "url.query"];
/// Keys under which logs record the status.
const STATUS_KEYS: &[&str] = &[
    "status",
    "status_code",
    "response_status",
    "response_code",
    "DownstreamStatus",
    "http.response.status_code",
];
/// Keys under which logs record the host.
const HOST_KEYS: &[&str] = &["host", "http_host", "RequestHost", "server_name"];
/// Keys under which a program that wraps log lines, such as Docker, stores the original line.
const WRAPPER_KEYS: &[&str] = &["log", "message", "msg"];

/// Parses a line that contains a JSON object, possibly after a prefix such as tags.
pub fn json(line: &str) -> Line {
    read(line, true)
}

fn read(line: &str, may_be_wrapped: bool) -> Line {
    let Some(start) = line.find('{') else {
        return Err("no JSON object");
    };
    // No further limits are needed: the JSON parser limits the nesting depth, and the maximum line length limits the size.
    let Ok(Json::Object(object)) = serde_json::from_str::<Json>(line[start..].trim_end()) else {
        return Err("no JSON object");
    };
    if let Some(call) = call_from_object(&object) {
        return call.map(Some);
    }
    let inner_text = WRAPPER_KEYS.iter().find_map(|key| object.get(*key)?.as_str());
    match inner_text.map(str::trim_end) {
        Some(inner) if may_be_wrapped && inner.trim_start().starts_with('{') => read(inner, false),
        Some(inner) if may_be_wrapped => Ok(access_log::combined(inner).or_else(|_| rails::lograge(inner)).unwrap_or(None)),
        _ => Ok(None),
    }
}

/// Returns the call that an object describes, or `None` if the object describes something else.
fn call_from_object(object: &Map<String, Json>) -> Option<Result<Call, &'static str>> {
    // Caddy nests the request in an object of its own.
    let request = object.get("request");
    let inner = request.and_then(Json::as_object).unwrap_or(object);
    let status = number(object, STATUS_KEYS).or_else(|| number(inner, STATUS_KEYS));
    let call = match (text(inner, METHOD_KEYS), text(inner, TARGET_KEYS), request.and_then(Json::as_str)) {
        (_, _, Some(line)) if line.contains(' ') => Call::of_request_line(line, status),
        (Some(method), Some(target), _) => Call::new(method, target, status),
        _ => return None,
    };
    Some(call.map(|mut call| {
        if call.query.is_empty()
            && let Some(query) = text(inner, QUERY_KEYS)
        {
            call.query = parameters(query.trim_start_matches('?'));
        }
        if call.host.is_none() {
            call.host = text(inner, HOST_KEYS).and_then(host_of);
        }
        call
    }))
}

fn text<'a>(object: &'a Map<String, Json>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| object.get(*key)?.as_str())
}

fn number(object: &Map<String, Json>, keys: &[&str]) -> Option<u16> {
    let value = keys.iter().find_map(|key| object.get(*key))?;
    match value {
        Json::String(text) => access_log::status(text),
        value => value.as_u64().and_then(|number| access_log::status(&number.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_json_of_several_programs() {
        for line in [
            r#"{"time":"x","request":"GET /api/v1/profile?x=1 HTTP/1.1","status":"200"}"#,
            r#"{"request_method":"GET","request_uri":"/api/v1/profile?x=1","status":200}"#,
            r#"{"method":"GET","uri":"/api/v1/profile","args":"x=1","status":200}"#,
            r#"I, [2026-11-30 #1]  INFO -- : [aa] {"method":"GET","path":"/api/v1/profile?x=1","format":"json","status":200}"#,
            r#"{"level":"info","request":{"method":"GET","host":"h:443","uri":"/api/v1/profile?x=1"},"status":200}"#,
            r#"{"RequestMethod":"GET","RequestPath":"/api/v1/profile?x=1","DownstreamStatus":200}"#,
            r#"{"log":"10.0.0.1 - - [x] \"GET /api/v1/profile?x=1 HTTP/1.1\" 200 5\n","stream":"stdout"}"#,
            r#"{"log":"{\"method\":\"GET\",\"path\":\"/api/v1/profile?x=1\",\"status\":200}\n"}"#,
            r#"{"message":"method=GET path=/api/v1/profile?x=1 status=200"}"#,
        ] {
            let call = json(line).expect("it is read").expect("a call");
            assert_eq!(
                (call.path.as_str(), call.query.len(), call.status),
                ("/api/v1/profile", 1, Some(200)),
                "{line}"
            );
        }
    }

    #[test]
    fn distinguishes_other_lines_from_invalid_ones() {
        for line in [r#"{"level":"info","message":"booted"}"#, "{}", r#"{"status":200}"#] {
            assert_eq!(json(line), Ok(None), "{line}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(30_000), "}".repeat(30_000));
        for line in ["", "text", "{", "[1]", deep.as_str(), r#"{"method":"x","path":"/"}"#] {
            assert!(json(line).is_err(), "{}", line.len());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_input_does_not_panic(line in "\\PC{0,20}(\\{\"(log|request|method|path|status)\":)?\\PC{0,200}") {
            let _ = json(&line);
        }
    }
}
