//! Generates the `OpenAPI` 3.1 document of the JSON API from its routes, texts and examples.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Map, Value as Json, json};

use super::{
    responses,
    route_description::{Caller, Endpoint, Parameter, RouteDescription},
    schema::{Schemas, declared},
    texts::{Example, INTRODUCTION, Operation, Texts, describe_fields},
};
use crate::{
    api_router::Route,
    json::values::Id,
    params::known_params::{is_id, parameters as in_path},
};

/// Generates the document as JSON. If `base_url` is empty, the document names the server from which it was read.
///
/// The document is encoded path by path. Built as one JSON value, it would take twenty times the memory of its text, and the process would
/// retain that memory.
pub fn document(routes: &[Route], endpoints: &[Endpoint], base_url: &str) -> String {
    let texts = Texts::read();
    let mut schemas = Schemas::new();
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
                let operation = operation(route, method, &texts, &mut schemas);
                entry(&method.as_str().to_ascii_lowercase(), &operation.to_string())
            });
            entry(path, &json_object(&operations.collect::<Vec<_>>()))
        })
        .collect();
    let info = json!({
        "title": "Parley",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "The JSON API for customer conversations.",
        "description": INTRODUCTION,
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        "contact": { "name": "The operator of this server", "url": "/docs/api" },
    });
    let common = responses::common(&texts, &mut schemas);
    let mut components = schemas.into_components();
    for schema in components.values_mut() {
        describe_fields(schema, &|name| texts.response_fields.get(name));
    }
    let components = json!({
        "schemas": components,
        "responses": common,
        "headers": responses::headers(&texts),
        "securitySchemes": security_schemes(),
    });
    let tags = tags.iter().map(|tag| json!({ "name": tag, "description": texts.tag(tag) }));
    let tags = json!(tags.collect::<Vec<_>>());
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| json!({ "path": endpoint.path, "caller": endpoint.caller.name(), "credential": endpoint.credential }))
        .collect();
    let servers = json!([{ "url": if base_url.is_empty() { "/" } else { base_url }, "description": "This server." }]);
    json_object(&[
        entry("openapi", "\"3.1.0\""),
        entry("jsonSchemaDialect", "\"https://json-schema.org/draft/2020-12/schema\""),
        entry("info", &info.to_string()),
        entry("servers", &servers.to_string()),
        entry("tags", &tags.to_string()),
        entry("paths", &json_object(&paths)),
        entry("components", &components.to_string()),
        entry("x-parley-endpoints", &json!(endpoints).to_string()),
    ])
}

/// The three headers that accept a token.
fn security_schemes() -> Json {
    json!({
        "token": {
            "type": "apiKey", "in": "header", "name": "api_access_token",
            "description": "The token in Chatwoot's header.",
        },
        "dashed_token": {
            "type": "apiKey", "in": "header", "name": "api-access-token",
            "description": "The same with dashes, for proxies that drop headers with underscores.",
        },
        "bearer": { "type": "http", "scheme": "bearer", "description": "The token as `Authorization: Bearer TOKEN`." },
    })
}

/// Encodes an entry of an object from its key and its already encoded value.
fn entry(key: &str, value: &str) -> String {
    format!("{}:{value}", Json::from(key))
}

fn json_object(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

fn operation(route: &Route, method: &Method, texts: &Texts, schemas: &mut Schemas) -> Json {
    let route_description = &route.description;
    let writes = route_description.writes(method);
    // Operation ids must be unique, so the PUT variant of an update needs an id of its own.
    let id = if method == Method::PUT {
        format!("{}ByPut", route_description.operation)
    } else {
        route_description.operation.to_owned()
    };
    let needs_token = route_description.caller != Caller::Anyone;
    let mut operation = json!({
        "operationId": id,
        "tags": [route.tag],
        "parameters": parameters(route, method, texts, schemas),
        "responses": responses::responses(route, method, texts, schemas),
        "security": if needs_token { json!([{ "token": [] }, { "dashed_token": [] }, { "bearer": [] }]) } else { json!([]) },
        "x-parley-caller": route_description.caller.name(),
        "x-parley-writes": writes,
    });
    if !route_description.rpc.is_empty() {
        operation["x-parley-rpc"] = json!(route_description.rpc);
    }
    if let Some(text) = texts.operation(route.tag, route_description.operation) {
        operation["summary"] = json!(text.summary);
        operation["description"] = json!(text.description);
    }
    if !route_description.body.is_empty() {
        operation["requestBody"] = request_body(route, texts, schemas);
    }
    operation
}

fn parameters(route: &Route, method: &Method, texts: &Texts, schemas: &mut Schemas) -> Vec<Json> {
    let own = texts.operation(route.tag, route.description.operation);
    let example = texts.example(route.description.operation);
    let complete = |mut parameter: Json, name: &str| {
        if let Some(text) = description(own, texts, name) {
            parameter["description"] = json!(text);
        }
        if let Some(example) = example.and_then(|example| example.parameters.get(name)) {
            parameter["example"] = example.clone();
        }
        parameter
    };
    let mut parameters: Vec<Json> = in_path(&route.path)
        .map(|name| {
            let declared = if is_id(name) { declared::<Id>() } else { declared::<String>() };
            complete(
                json!({ "name": name, "in": "path", "required": true, "schema": schemas.request(declared) }),
                name,
            )
        })
        .collect();
    for Parameter { name, schema, .. } in &route.description.query {
        let schema = schemas.request(*schema);
        let shown = if schema["type"] == "array" {
            format!("{name}[]")
        } else {
            (*name).to_owned()
        };
        parameters.push(complete(
            json!({ "name": shown, "in": "query", "required": false, "schema": schema }),
            name,
        ));
    }
    let header = match (route.description.writes(method), route.description.accepts_idempotency_key(method)) {
        (true, true) => Some("Idempotency-Key"),
        // Add an optional parameter, because code generators do not handle an operation well if it has several body formats and no optional
        // parameter.
        (true, false) => Some("traceparent"),
        (false, _) if !route.description.rpc.is_empty() => Some("Parley-Min-Cursor"),
        _ => None,
    };
    if let Some(name) = header {
        parameters.push(complete(
            json!({ "name": name, "in": "header", "required": false, "schema": { "type": "string" } }),
            name,
        ));
    }
    parameters
}

/// Returns the description of a parameter or body field: the operation's own description, or otherwise the shared one.
fn description<'a>(own: Option<&'a Operation>, texts: &'a Texts, name: &str) -> Option<&'a String> {
    own.and_then(|own| own.fields.get(name)).or_else(|| texts.parameters.get(name))
}

fn request_body(route: &Route, texts: &Texts, schemas: &mut Schemas) -> Json {
    let route_description: &RouteDescription = &route.description;
    let own = texts.operation(route.tag, route_description.operation);
    let mut properties = Map::new();
    for parameter in &route_description.body {
        properties.insert(parameter.name.to_owned(), schemas.request(parameter.schema));
    }
    let required = &route_description.required;
    let mut fields = json!({ "type": "object", "properties": properties, "required": required });
    describe_fields(&mut fields, &|name| description(own, texts, name));
    for parameter in &route_description.body {
        if let (Some(comment), Json::Object(field)) = (parameter.comment, &mut fields["properties"][parameter.name]) {
            field.entry("description").or_insert_with(|| json!(comment));
        }
    }
    let (json, form) = match route_description.root {
        None => (fields.clone(), fields),
        Some(root) => {
            let wrapped = json!({ "type": "object", "properties": { root: fields }, "required": [root] });
            (json!({ "anyOf": [wrapped, fields] }), wrapped)
        }
    };
    let required = !required.is_empty();
    let mut json = json!({ "schema": json });
    if let Some(Example {
        request: Some(request), ..
    }) = texts.example(route_description.operation)
    {
        json["example"] = request.clone();
    }
    json!({ "required": required, "content": {
        "application/json": json,
        "application/x-www-form-urlencoded": { "schema": form },
        "multipart/form-data": { "schema": form },
    } })
}
