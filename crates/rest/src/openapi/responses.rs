//! The responses of an operation: its success, and the errors that are possible for a route of its shape.
//!
//! An error that is identical for many operations is a component of the document. An operation with its own example or cause has its own.

use axum::http::Method;
use serde_json::{Map, Value as Json, json};

use super::{
    about::{About, Caller, Success},
    schema::{self, Schema, choice, integer, list, object, text},
    texts::{Example, Texts},
};
use crate::door::Route;

/// The common errors, with the names of their components.
const COMMON: [(&str, &str); 10] = [
    ("400", "BadRequest"),
    ("401", "Unauthorized"),
    ("404", "NotFound"),
    ("409", "Conflict"),
    ("410", "Gone"),
    ("413", "PayloadTooLarge"),
    ("422", "UnprocessableEntity"),
    ("429", "TooManyRequests"),
    ("500", "InternalServerError"),
    ("503", "ServiceUnavailable"),
];

/// Shape A.
fn error() -> Schema {
    object()
        .key("error", text())
        .optional("reason", text())
        .optional("existing_id", integer())
        .optional("earliest_seq", integer())
        .optional("head_seq", integer())
        .optional("epoch", text())
        .named("Error")
}

/// Shape B.
fn record_error() -> Schema {
    object()
        .key("message", text())
        .optional("attributes", list(text()))
        .optional("existing_id", integer())
        .named("RecordError")
}

/// Shape C.
fn credentials_error() -> Schema {
    object().key("errors", list(text())).named("CredentialsError")
}

/// Shape D.
fn fault() -> Schema {
    object().key("status", integer()).key("error", text()).named("Fault")
}

/// The schema of an error's body.
fn shape(status: &str) -> Schema {
    match status {
        "401" => schema::either([error(), credentials_error()]),
        "409" | "410" => error(),
        "422" => schema::either([error(), record_error()]),
        "429" => choice(&["Retry later"]),
        "400" | "500" | "503" => fault(),
        _ => schema::either([error(), fault()]),
    }
}

fn media_type(status: &str) -> &'static str {
    if status == "429" { "text/plain" } else { "application/json" }
}

/// Whether the error is possible for the route. Parsing parameters can fail on every route that has any. A route whose path and query have
/// no ids cannot respond with 404; a nonexistent account is treated like an account of others (401).
fn occurs(status: &str, route: &Route, method: &Method) -> bool {
    let about = &route.about;
    let changes = method != Method::GET;
    let is_static = about.rpc.is_empty() && about.caller == Caller::Anyone;
    match status {
        "401" => about.caller != Caller::Anyone,
        "404" => !is_static && (changes || names_something(route)),
        "409" => about.takes_key(method),
        // `Parley-Min-Cursor` may be rejected with 410.
        "410" => !is_static && !about.writes(method) && about.caller != Caller::Anyone,
        "413" => changes,
        "400" | "422" | "500" => !is_static,
        _ => true,
    }
}

/// Whether a path or query contains an id other than the caller's account.
fn names_something(route: &Route) -> bool {
    let of_members = matches!(route.about.caller, Caller::Member | Caller::Administrator);
    let in_path = route.path.split('/').filter(|part| part.starts_with('{'));
    let mut others = in_path.filter(|part| !of_members || *part != "{account_id}");
    others.next().is_some()
        || route
            .about
            .query_names()
            .any(|name| name.ends_with("_id") || name.ends_with("_ids"))
}

/// Generates the components of the common errors.
pub fn common(texts: &Texts, components: &mut Map<String, Json>) -> Json {
    let errors = COMMON.iter().map(|(status, name)| {
        let text = texts.error(status);
        let (description, example) = text.map_or(("", &Json::Null), |text| (text.description.as_str(), &text.example));
        let response = response(status, description, &shape(status), example, components);
        ((*name).to_owned(), response)
    });
    Json::Object(errors.collect())
}

/// Generates the components of the response headers.
pub fn headers(texts: &Texts) -> Json {
    let header = |name: &str, schema: Json| {
        let description = texts.parameters.get(name).map_or("", String::as_str);
        (name.to_owned(), json!({ "description": description, "schema": schema }))
    };
    let number = || json!({ "type": "integer" });
    let words = || json!({ "type": "string" });
    let all = [
        header("Location", words()),
        header("Parley-Cursor", words()),
        header("Parley-Ignored", words()),
        header("RateLimit-Limit", number()),
        header("RateLimit-Remaining", number()),
        header("RateLimit-Reset", number()),
        header("Retry-After", number()),
    ];
    Json::Object(all.into_iter().collect())
}

/// Generates all responses of an operation.
pub fn responses(route: &Route, method: &Method, texts: &Texts, components: &mut Map<String, Json>) -> Json {
    let about = &route.about;
    let example = texts.example(about.operation);
    let mut responses = Map::new();
    let (status, mut success) = success(about, texts, components);
    let headers = success_headers(about, method);
    if !headers.is_empty() {
        success["headers"] = referred(&headers);
    }
    responses.insert(status.to_owned(), success);
    for (status, name) in COMMON {
        if !occurs(status, route, method) {
            continue;
        }
        let text = texts.error(status);
        let own = own_example(example, status).filter(|own| Some(*own) != text.map(|text| &text.example));
        let answer = match (own, text) {
            (Some(own), Some(text)) => response(status, &text.description, &shape(status), own, components),
            _ => json!({ "$ref": format!("#/components/responses/{name}") }),
        };
        responses.insert(status.to_owned(), answer);
    }
    for (status, when) in &about.refusals {
        let plain = json!({ "status": status.as_u16(), "error": status.canonical_reason() });
        let status = status.as_str();
        // The common example of 401 is a missing token, but these are other causes, such as a missing signature. Statuses outside of
        // `COMMON` have no common example either.
        let usual = texts.error(status).map(|text| &text.example).filter(|_| status != "401");
        let example = own_example(example, status).or(usual).unwrap_or(&plain);
        let shape = if status == "422" {
            shape(status)
        } else {
            schema::either([error(), fault()])
        };
        responses.insert(status.to_owned(), response(status, when, &shape, example, components));
    }
    if about.finds_nothing {
        // The body is not described, because it may be empty.
        let description = texts.error("404").map_or("", |text| &text.description);
        responses.insert(
            "404".to_owned(),
            json!({ "description": description, "x-parley-may-be-empty": true }),
        );
    }
    Json::Object(responses)
}

fn own_example<'a>(example: Option<&'a Example>, status: &str) -> Option<&'a Json> {
    example?.errors.get(status)
}

fn success(about: &About, texts: &Texts, components: &mut Map<String, Json>) -> (&'static str, Json) {
    let example = texts.example(about.operation).and_then(|example| example.response.as_ref());
    match &about.success {
        Success::Empty => ("200", json!({ "description": "Done. The body is empty." })),
        Success::Json(schema) => {
            let mut schema = schema.put(components);
            texts.schemas.describe_unnamed(&mut schema);
            let mut content = json!({ "schema": schema });
            if let Some(response) = example {
                content["example"] = response.clone();
            }
            ("200", json!({ "description": "Done.", "content": { "application/json": content } }))
        }
        Success::Bytes(kind) => {
            let content = match example {
                Some(response) => json!({ "schema": { "type": "string" }, "example": response }),
                None => json!({}),
            };
            ("200", json!({ "description": "Done.", "content": { *kind: content } }))
        }
        Success::NoContent => ("204", json!({ "description": "Done. There is no body." })),
        Success::Elsewhere => ("302", json!({ "description": "Redirects to the bytes of the file." })),
    }
}

fn success_headers(about: &About, method: &Method) -> Vec<&'static str> {
    let mut names = Vec::new();
    if matches!(about.success, Success::Elsewhere) {
        names.push("Location");
    }
    if !about.rpc.is_empty() || about.caller != Caller::Anyone {
        if about.writes(method) {
            names.push("Parley-Cursor");
        }
        names.push("Parley-Ignored");
        if about.caller != Caller::Anyone {
            names.extend(["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]);
        }
    }
    names
}

fn referred(names: &[&str]) -> Json {
    let headers = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })));
    Json::Object(headers.collect())
}

fn response(status: &str, description: &str, schema: &Schema, example: &Json, components: &mut Map<String, Json>) -> Json {
    let content = json!({ "schema": schema.put(components), "example": example });
    let mut response = json!({ "description": description, "content": { media_type(status): content } });
    if matches!(status, "429" | "503") {
        response["headers"] = referred(&["Retry-After"]);
    }
    response
}

impl About {
    /// Whether a call with this method changes anything.
    pub(super) fn writes(&self, method: &Method) -> bool {
        !self.reads && method != Method::GET
    }

    /// Whether a call with this method accepts an `Idempotency-Key`, which is the case if its gRPC method is idempotent by contract.
    pub(super) fn takes_key(&self, method: &Method) -> bool {
        let rpc = format!("parley.v1.{}", self.rpc.replace('.', "/"));
        self.writes(method) && parley_proto::policy::method(&rpc).is_some_and(|method| method.idempotent)
    }
}
