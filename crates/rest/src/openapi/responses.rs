//! The responses of an operation: its successful response, and the errors that are possible given its method and parameters.
//!
//! An error response that is identical for many operations is a shared component of the document. An operation with its own example or
//! cause of an error has its own error response.

use axum::http::Method;
use serde_json::{Map, Value as Json, json};

use super::{
    route_description::{Caller, RouteDescription, Success},
    schema::{Declared, Schemas, declared},
    texts::{Example, Texts, describe_fields},
};
use crate::{
    api_router::Route,
    errors::bodies::{CredentialsError, Error, Fault, RecordError, RetryLater},
    json::values::OneOf,
};

/// The status codes of the common errors, with the names of their components in the document.
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

/// Returns the schema of the error body for a status code.
fn shape(status: &str) -> Declared {
    match status {
        "401" => declared::<OneOf<Error, CredentialsError>>(),
        "409" | "410" => declared::<Error>(),
        "422" => declared::<OneOf<Error, RecordError>>(),
        "429" => declared::<RetryLater>(),
        "400" | "500" | "503" => declared::<Fault>(),
        _ => declared::<OneOf<Error, Fault>>(),
    }
}

fn media_type(status: &str) -> &'static str {
    if status == "429" { "text/plain" } else { "application/json" }
}

/// Returns whether an error is possible for the route. Parsing parameters can fail on every route that has parameters. A GET route whose
/// path and query contain no id other than the id of the caller's account cannot respond with 404: an account that does not exist is
/// treated like an account that the caller cannot access (401).
fn is_possible(status: &str, route: &Route, method: &Method) -> bool {
    let route_description = &route.description;
    let changes = method != Method::GET;
    let is_static = route_description.rpc.is_empty() && route_description.caller == Caller::Anyone;
    match status {
        "401" => route_description.caller != Caller::Anyone,
        "404" => !is_static && (changes || has_resource_id(route)),
        "409" => route_description.accepts_idempotency_key(method),
        // A read that sends `Parley-Min-Cursor` may be rejected with 410.
        "410" => !is_static && !route_description.writes(method) && route_description.caller != Caller::Anyone,
        "413" => changes,
        "400" | "422" | "500" => !is_static,
        _ => true,
    }
}

/// Returns whether the path or query contains an id other than the id of the caller's account.
fn has_resource_id(route: &Route) -> bool {
    let of_members = matches!(route.description.caller, Caller::Member | Caller::Administrator);
    let in_path = route.path.split('/').filter(|part| part.starts_with('{'));
    let mut others = in_path.filter(|part| !of_members || *part != "{account_id}");
    others.next().is_some()
        || route
            .description
            .query_names()
            .any(|name| name.ends_with("_id") || name.ends_with("_ids"))
}

/// Generates the `OpenAPI` components for the common errors.
pub fn common(texts: &Texts, schemas: &mut Schemas) -> Json {
    let errors = COMMON.iter().map(|(status, name)| {
        let text = texts.error(status);
        let (description, example) = text.map_or(("", &Json::Null), |text| (text.description.as_str(), &text.example));
        let response = response(status, description, shape(status), example, schemas);
        ((*name).to_owned(), response)
    });
    Json::Object(errors.collect())
}

/// Generates the `OpenAPI` components for the response headers.
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
pub fn responses(route: &Route, method: &Method, texts: &Texts, schemas: &mut Schemas) -> Json {
    let route_description = &route.description;
    let example = texts.example(route_description.operation);
    let mut responses = Map::new();
    let (status, mut success) = success(route_description, texts, schemas);
    let headers = success_headers(route_description, method);
    if !headers.is_empty() {
        success["headers"] = header_refs(&headers);
    }
    responses.insert(status.to_owned(), success);
    for (status, name) in COMMON {
        if !is_possible(status, route, method) {
            continue;
        }
        let text = texts.error(status);
        let own = operation_example(example, status).filter(|own| Some(*own) != text.map(|text| &text.example));
        let answer = match (own, text) {
            (Some(own), Some(text)) => response(status, &text.description, shape(status), own, schemas),
            _ => json!({ "$ref": format!("#/components/responses/{name}") }),
        };
        responses.insert(status.to_owned(), answer);
    }
    for (status, when) in &route_description.failures {
        let plain = json!({ "status": status.as_u16(), "error": status.canonical_reason() });
        let status = status.as_str();
        // Do not use the common example for 401, which shows a missing token: the failures that a route declares have other causes, such as
        // a missing signature. There is no common example for statuses that are not in `COMMON`.
        let usual = texts.error(status).map(|text| &text.example).filter(|_| status != "401");
        let example = operation_example(example, status).or(usual).unwrap_or(&plain);
        let shape = if status == "422" {
            shape(status)
        } else {
            declared::<OneOf<Error, Fault>>()
        };
        responses.insert(status.to_owned(), response(status, when, shape, example, schemas));
    }
    if route_description.empty_not_found {
        // The body of this 404 response is not described, because it may be empty.
        let description = texts.error("404").map_or("", |text| &text.description);
        responses.insert(
            "404".to_owned(),
            json!({ "description": description, "x-parley-may-be-empty": true }),
        );
    }
    Json::Object(responses)
}

fn operation_example<'a>(example: Option<&'a Example>, status: &str) -> Option<&'a Json> {
    example?.errors.get(status)
}

fn success(route_description: &RouteDescription, texts: &Texts, schemas: &mut Schemas) -> (&'static str, Json) {
    let example = texts
        .example(route_description.operation)
        .and_then(|example| example.response.as_ref());
    match &route_description.success {
        Success::Empty => ("200", json!({ "description": "Done. The body is empty." })),
        Success::Json(schema) => {
            let mut schema = schemas.response(*schema);
            describe_fields(&mut schema, &|name| texts.response_fields.get(name));
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
        Success::Redirect => ("302", json!({ "description": "Redirects to the bytes of the file." })),
        Success::Moved => ("308", json!({ "description": "Redirects to the new path." })),
    }
}

fn success_headers(route_description: &RouteDescription, method: &Method) -> Vec<&'static str> {
    let mut names = Vec::new();
    if matches!(route_description.success, Success::Redirect | Success::Moved) {
        names.push("Location");
    }
    if !route_description.rpc.is_empty() || route_description.caller != Caller::Anyone {
        if route_description.writes(method) {
            names.push("Parley-Cursor");
        }
        names.push("Parley-Ignored");
        if route_description.caller != Caller::Anyone {
            names.extend(["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]);
        }
    }
    names
}

fn header_refs(names: &[&str]) -> Json {
    let headers = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })));
    Json::Object(headers.collect())
}

fn response(status: &str, description: &str, schema: Declared, example: &Json, schemas: &mut Schemas) -> Json {
    let content = json!({ "schema": schemas.response(schema), "example": example });
    let mut response = json!({ "description": description, "content": { media_type(status): content } });
    if matches!(status, "429" | "503") {
        response["headers"] = header_refs(&["Retry-After"]);
    }
    response
}

impl RouteDescription {
    /// Returns whether a call with this method changes anything.
    pub(super) fn writes(&self, method: &Method) -> bool {
        !self.reads && method != Method::GET
    }

    /// Returns whether a call with this method accepts an `Idempotency-Key`. It does if its gRPC method is idempotent by contract.
    pub(super) fn accepts_idempotency_key(&self, method: &Method) -> bool {
        let rpc = format!("parley.v1.{}", self.rpc.replace('.', "/"));
        self.writes(method) && parley_proto::policy::method(&rpc).is_some_and(|method| method.idempotent)
    }
}
