//! The description of the door as `OpenAPI` 3.1, made from its routes.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};

use super::{
    about::{About, Caller, Endpoint, Parameter, Success},
    schema::{self, Schema, anything, choice, integer, list, object, text},
};
use crate::gateway::{
    door::Route,
    understood::{is_id, parameters as in_path},
};

/// The header that carries a token.
const TOKEN: &str = "api_access_token";

/// The document that describes these routes, as JSON.
///
/// Path by path: as values all of it would take twenty times the memory of its text, which a server would hold on to.
pub fn document(routes: &[Route], endpoints: &[Endpoint], base_url: &str) -> String {
    let mut components = Map::new();
    let mut tags: Vec<&str> = Vec::new();
    let mut by_path: BTreeMap<&str, Vec<&Route>> = BTreeMap::new();
    for route in routes {
        if !tags.contains(&route.tag) {
            tags.push(route.tag);
        }
        by_path.entry(&route.path).or_default().push(route);
    }
    let paths: Vec<String> = by_path
        .into_iter()
        .map(|(path, routes)| {
            let methods = routes
                .into_iter()
                .flat_map(|route| route.methods.iter().map(move |method| (route, method)));
            let operations = methods.map(|(route, method)| {
                let operation = operation(route, method, &mut components);
                entry(&method.as_str().to_ascii_lowercase(), &operation.to_string())
            });
            entry(path, &braced(&operations.collect::<Vec<_>>()))
        })
        .collect();
    let info = json!({
        "title": "Parley",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Customer conversations: the JSON API of OneHash Chat and Chatwoot, served by Parley. Every path also takes the \
                        suffix .json and repeated or trailing slashes, PUT and PATCH are the same, and a parameter of the body may stand in the query as well.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    let components = json!({
        "schemas": components,
        "securitySchemes": {
            "token": { "type": "apiKey", "in": "header", "name": TOKEN },
            "bearer": { "type": "http", "scheme": "bearer" },
        },
    });
    let tags = json!(tags.iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>());
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| json!({ "path": endpoint.path, "caller": endpoint.caller.name(), "credential": endpoint.credential }))
        .collect();
    let mut document = vec![
        entry("openapi", "\"3.1.0\""),
        entry("jsonSchemaDialect", "\"https://json-schema.org/draft/2020-12/schema\""),
        entry("info", &info.to_string()),
        entry("tags", &tags.to_string()),
        entry("paths", &braced(&paths)),
        entry("components", &components.to_string()),
        entry("x-parley-endpoints", &json!(endpoints).to_string()),
    ];
    if !base_url.is_empty() {
        document.push(entry("servers", &json!([{ "url": base_url }]).to_string()));
    }
    braced(&document)
}

/// A key of an object with its value, which is JSON already.
fn entry(key: &str, value: &str) -> String {
    format!("{}:{value}", Json::from(key))
}

fn braced(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

fn operation(route: &Route, method: &Method, components: &mut Map<String, Json>) -> Json {
    let about = &route.about;
    let writes = !about.reads && method != Method::GET;
    // An operation has one id, so the second method of an update has a second one.
    let id = if method == Method::PUT {
        format!("{}ByPut", about.operation)
    } else {
        about.operation.to_owned()
    };
    let mut operation = json!({
        "operationId": id,
        "summary": about.summary,
        "tags": [route.tag],
        "parameters": parameters(route, writes, components),
        "responses": responses(about, components),
        "security": if about.caller == Caller::Anyone { json!([]) } else { json!([{ "token": [] }, { "bearer": [] }]) },
        "x-parley-caller": about.caller.name(),
        "x-parley-writes": writes,
    });
    if !about.rpc.is_empty() {
        operation["x-parley-rpc"] = json!(about.rpc);
    }
    if !about.note.is_empty() {
        operation["description"] = json!(about.note);
    }
    if !about.body.is_empty() {
        operation["requestBody"] = request_body(about, components);
    }
    operation
}

fn parameters(route: &Route, writes: bool, components: &mut Map<String, Json>) -> Vec<Json> {
    let mut parameters: Vec<Json> = in_path(&route.path)
        .map(|name| {
            let schema = if is_id(name) { schema::id() } else { text() };
            json!({ "name": name, "in": "path", "required": true, "schema": schema.put(components) })
        })
        .collect();
    for Parameter { name, schema, required } in &route.about.query {
        let schema = schema.put(components);
        let name = if schema["type"] == "array" {
            format!("{name}[]")
        } else {
            (*name).to_owned()
        };
        parameters.push(json!({ "name": name, "in": "query", "required": required, "schema": schema }));
    }
    if writes && !route.about.rpc.is_empty() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "Makes the request repeatable for a day: the same key and the same request have one effect and one answer.",
        }));
    }
    if !writes && !route.about.rpc.is_empty() {
        parameters.push(json!({
            "name": "Parley-Min-Cursor", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "The Parley-Cursor of a write: the read waits until the log has come that far.",
        }));
    }
    parameters
}

fn request_body(about: &About, components: &mut Map<String, Json>) -> Json {
    let mut fields = object();
    for Parameter { name, schema, required } in &about.body {
        let schema = schema.clone();
        fields = if *required {
            fields.key(name, schema)
        } else {
            fields.optional(name, schema)
        };
    }
    // What is not known is not looked at.
    let fields = fields.open();
    let (json, form) = match about.root {
        None => (fields.clone(), fields),
        Some(root) => {
            let wrapped = object().key(root, fields.clone()).open();
            (schema::either([wrapped.clone(), fields]), wrapped)
        }
    };
    let required = about.body.iter().any(|parameter| parameter.required);
    let form = form.put(components);
    json!({ "required": required, "content": {
        "application/json": { "schema": json.put(components) },
        "application/x-www-form-urlencoded": { "schema": form },
        "multipart/form-data": { "schema": form },
    } })
}

/// Shape A.
fn error() -> Schema {
    object()
        .key("error", text())
        .optional("reason", text().note("The kind of a refusal that programs act on."))
        .optional("existing_id", integer().note("What already has the value that was to be unique."))
        .optional(
            "earliest_seq",
            integer().note("The oldest event that is kept, where a cursor cannot be continued."),
        )
        .optional("head_seq", integer().note("The newest event, there."))
        .optional("epoch", text().note("The identity of the log's history, there."))
        .named("Error")
}

/// Shape B.
fn record_error() -> Schema {
    object()
        .key("message", text().note("Every sentence, joined with commas."))
        .optional(
            "attributes",
            list(text())
                .note("What is wrong, each once. Missing where nothing is, but the moment: a contact who is online is not deleted."),
        )
        .optional("existing_id", integer().note("What already has the value that was to be unique."))
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

fn responses(about: &About, components: &mut Map<String, Json>) -> Json {
    let mut responses = Map::new();
    let (status, response) = match &about.success {
        Success::Empty => ("200", json!({ "description": "Done; the body is empty." })),
        Success::Json(schema) => ("200", as_json("Done.", schema, components)),
        Success::Bytes(kind) => ("200", json!({ "description": "Done.", "content": { *kind: {} } })),
        Success::NoContent => ("204", json!({ "description": "Done." })),
        Success::Elsewhere => (
            "302",
            json!({ "description": "It lies elsewhere.", "headers": { "Location": { "schema": { "type": "string" } } } }),
        ),
    };
    responses.insert(status.to_owned(), response);
    let mut common = vec![
        ("400", "The request cannot be read.", fault()),
        (
            "404",
            "There is nothing of that name, or not for this caller.",
            schema::either([error(), fault()]),
        ),
        ("413", "The request is too large.", schema::either([error(), fault()])),
        (
            "422",
            "Something in the request is wrong.",
            schema::either([error(), record_error()]),
        ),
        ("500", "A fault of the server.", fault()),
    ];
    if about.caller != Caller::Anyone {
        common.push((
            "401",
            "No token, an unknown one, or one that may not do this.",
            schema::either([error(), credentials_error()]),
        ));
    }
    if !about.rpc.is_empty() {
        common.push(("409", "The Idempotency-Key was used for another request.", error()));
    }
    for (status, when, schema) in common {
        responses.insert(status.to_owned(), as_json(when, &schema, components));
    }
    let retry_after = json!({ "Retry-After": { "description": "Seconds.", "schema": { "type": "integer" } } });
    let mut busy = as_json("The server has no room for it now.", &fault(), components);
    busy["headers"] = retry_after.clone();
    responses.insert("503".to_owned(), busy);
    let later = choice(&["Retry later"]).put(components);
    responses.insert(
        "429".to_owned(),
        json!({ "description": "Too many at once.", "headers": retry_after, "content": { "text/plain": { "schema": later } } }),
    );
    for (status, when) in &about.refusals {
        let schema = if *status == StatusCode::NOT_MODIFIED {
            anything()
        } else {
            schema::either([error(), fault()])
        };
        responses.insert(status.as_str().to_owned(), as_json(when, &schema, components));
    }
    if about.finds_nothing
        && let Some(missing) = responses.get_mut("404")
    {
        // Nothing is said of its body: there may be none.
        *missing = json!({ "description": missing["description"], "x-parley-may-be-empty": true });
    }
    Json::Object(responses)
}

fn as_json(description: &str, schema: &Schema, components: &mut Map<String, Json>) -> Json {
    json!({ "description": description, "content": { "application/json": { "schema": schema.put(components) } } })
}
