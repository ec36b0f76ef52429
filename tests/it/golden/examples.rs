//! The examples in the `OpenAPI` document: recorded exchanges, with plausible values in place of masked ones.
//!
//! The other tests of this module compare the snapshots with live responses; this one generates `examples.json` from them. If an operation
//! has several exchanges, the most informative one is used, unless it is long.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json, json};

use super::{application::ACCOUNT, complete};
use crate::support::{app::TestApp, database::Backend, description::Description, http::Http};

/// A longer exchange, in bytes of request and response, is used only if there is no shorter one.
const LONG: usize = 4096;

/// 2026-01-01T00:00:00Z.
const SECONDS: i64 = 1_767_225_600;
/// An id in the range of random ids.
const ID: i64 = 281_474_976_710_657;

pub fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/rest/src/openapi/examples.json")
}

#[tokio::test]
async fn examples_are_recorded_responses() {
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    let mut examples = Examples::new(http.description().await).derived();
    examples["followEvents"]["parameters"] = json!({"account_id": 1, "kinds": "contact.created", "start": "earliest"});
    examples["followEvents"]["response"] = json!(an_event(&http).await);
    let text = format!("{}\n", serde_json::to_string_pretty(&examples).expect("examples are JSON"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(file(), &text).expect("the examples can be written");
    }
    let written = fs::read_to_string(file()).unwrap_or_default();
    assert!(written == text, "examples.json is not what UPDATE_SNAPSHOTS=1 would write");
}

/// An event as the stream sends it, which no snapshot contains: with a fixed cursor, id and times.
async fn an_event(http: &Http) -> String {
    http.post("/contacts", &json!({"name": "Asha Rao"})).await;
    let request = http.request("GET", &format!("{ACCOUNT}/events?start=earliest&kinds=contact.created"));
    let mut response = request.send().await.expect("the stream is opened");
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk = response.chunk().await.expect("it arrives").expect("the stream goes on");
        text += std::str::from_utf8(&chunk).expect("the stream is text");
    }
    let lines = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| match line.split_once(": ") {
            Some(("id", _)) => "id: AQG1xe3QBgHszArr".to_owned(),
            Some(("data", data)) => {
                let mut event: Json = serde_json::from_str(data).expect("an event is JSON");
                event["event_id"] = json!("6a1b62b5-1-1");
                format!("data: {}", without_times(event))
            }
            _ => line.to_owned(),
        });
    lines.chain([String::new(), String::new()]).collect::<Vec<_>>().join("\n")
}

fn without_times(value: Json) -> Json {
    match value {
        Json::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, without_times(value)))
            .collect::<Map<_, _>>()
            .into(),
        Json::String(text) if text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') => json!("2026-01-01T00:00:00.000000Z"),
        other => other,
    }
}

/// Derives examples with the help of the descriptions of operations.
#[derive(Debug)]
struct Examples<'a> {
    description: &'a Description,
}

/// The rank of an exchange as an example: whether it has a request if the operation takes one, whether it shows any data, whether it is
/// short, and how much it shows.
type Merit = (bool, bool, bool, usize);

impl<'a> Examples<'a> {
    fn new(description: &'a Description) -> Self {
        Self { description }
    }

    /// The examples of all operations, by id.
    fn derived(&self) -> Json {
        let mut best: BTreeMap<String, (Merit, Map<String, Json>)> = BTreeMap::new();
        let mut errors: BTreeMap<String, Map<String, Json>> = BTreeMap::new();
        for exchange in complete::exchanges() {
            let request = exchange["request"].as_str().expect("a request is a text");
            let (method, path) = request.split_once(' ').expect("a method and a path");
            let Some(template) = self.description.template(path) else {
                continue;
            };
            let operation = &self.description.document()["paths"][template][method.to_ascii_lowercase()];
            let Some(id) = operation["operationId"].as_str() else { continue };
            let status = exchange["status"].as_u64().expect("a status is a number").to_string();
            let body = self.body(operation, &status, &exchange["body"]);
            if status.as_str() >= "400" {
                if !body.is_null() && body != self.common(&status) {
                    errors.entry(id.to_owned()).or_default().entry(status).or_insert(body);
                }
                continue;
            }
            let sent = &exchange["sent"];
            // Skip multipart forms, and bodies with texts of which the snapshot contains only the length.
            if !(sent.is_object() || sent.is_null()) || sent.to_string().contains(" characters]") {
                continue;
            }
            let takes_body = operation["requestBody"].is_object();
            let has_request = sent.as_object().is_some_and(|sent| !sent.is_empty());
            let length = body.to_string().len() + sent.to_string().len();
            let merit = (
                has_request == takes_body,
                shows_anything(&body),
                length <= LONG,
                if length <= LONG { length } else { usize::MAX - length },
            );
            if best.get(id).is_some_and(|(other, _)| *other >= merit) {
                continue;
            }
            let mut example = Map::new();
            example.insert("parameters".to_owned(), self.parameters(operation, template, path));
            if takes_body && has_request {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                example.insert("request".to_owned(), self.unmasked("", sent, &[schema]));
            }
            if !body.is_null() {
                example.insert("response".to_owned(), body);
            }
            best.insert(id.to_owned(), (merit, example));
        }
        let mut examples: BTreeMap<String, Map<String, Json>> = best.into_iter().map(|(id, (_, example))| (id, example)).collect();
        for (id, errors) in errors {
            examples.entry(id).or_default().insert("errors".to_owned(), Json::Object(errors));
        }
        json!(examples)
    }

    /// An example of an error that all operations share.
    fn common(&self, status: &str) -> Json {
        let name = match status {
            "400" => "BadRequest",
            "401" => "Unauthorized",
            "404" => "NotFound",
            "409" => "Conflict",
            "410" => "Gone",
            "413" => "PayloadTooLarge",
            "422" => "UnprocessableEntity",
            "429" => "TooManyRequests",
            "500" => "InternalServerError",
            _ => "ServiceUnavailable",
        };
        let content = &self.description.document()["components"]["responses"][name]["content"];
        let media = content.as_object().and_then(|content| content.values().next());
        media.map_or(Json::Null, |media| media["example"].clone())
    }

    fn body(&self, operation: &Json, status: &str, body: &Json) -> Json {
        let response = self.description.resolved(&operation["responses"][status]);
        let schema = &response["content"]["application/json"]["schema"];
        self.unmasked("", body, &[schema])
    }

    /// The parameters of the path and the query, each converted to the type in its schema.
    fn parameters(&self, operation: &Json, template: &str, path: &str) -> Json {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let in_path = template.split('/').zip(path.split('/'));
        let in_path = in_path.filter_map(|(name, value)| Some((name.strip_prefix('{')?.strip_suffix('}')?, value)));
        let mut values: Map<String, Json> = Map::new();
        let in_query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let in_query = in_query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in in_path.chain(in_query) {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let Some(parameter) = parameters.into_iter().find(|parameter| parameter["name"] == name) else {
                continue;
            };
            let key = name.trim_end_matches("[]");
            let schema = &parameter["schema"];
            let value = self.unmasked(key, &json!(value), &[schema]);
            let value = match (schema["type"].as_str(), value.as_str()) {
                (Some("integer"), Some(text)) => json!(text.parse::<i64>().expect("a number in a path or query")),
                (Some("boolean"), Some(text)) => json!(text == "true"),
                (Some("array"), Some(text)) => {
                    let mut all = values.get(key).and_then(Json::as_array).cloned().unwrap_or_default();
                    all.push(text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)));
                    json!(all)
                }
                _ => value,
            };
            values.insert(key.to_owned(), value);
        }
        Json::Object(values)
    }

    /// Replaces masks in a value by something plausible; for a time, in the form that the schemas allow.
    fn unmasked(&self, key: &str, value: &Json, schemas: &[&Json]) -> Json {
        let schemas = self.alternatives(schemas);
        let within = |name: &str| -> Vec<&Json> { schemas.iter().filter_map(|schema| schema["properties"].get(name)).collect() };
        match value {
            Json::Object(map) => map
                .iter()
                .map(|(name, value)| (name.clone(), self.unmasked(name, value, &within(name))))
                .collect::<Map<_, _>>()
                .into(),
            Json::Array(list) => {
                let items: Vec<&Json> = schemas.iter().filter_map(|schema| schema.get("items")).collect();
                list.iter().map(|item| self.unmasked(key, item, &items)).collect()
            }
            Json::String(text) => match text.as_str() {
                "[time]" if is_of(&schemas, "integer") => json!(SECONDS),
                "[time]" if is_of(&schemas, "number") => json!(1_767_225_600.25),
                "[time]" => json!("2026-01-01T00:00:00.000Z"),
                "[id]" => json!(ID),
                "[uuid]" => json!("0f8fad5b-d9cb-469f-a165-70867728950e"),
                "[random]" => json!(format!("example-{}", key.replace('_', "-"))),
                "[link]" => json!("https://chat.example.org/files/example-link/note.txt"),
                "[login link]" => json!("https://chat.example.org/app/login?email=ravi%40acme.example&sso_auth_token=example-token"),
                _ => value.clone(),
            },
            other => other.clone(),
        }
    }

    /// The schemas with references resolved and alternatives flattened.
    fn alternatives<'b>(&'b self, schemas: &[&'b Json]) -> Vec<&'b Json> {
        let mut all = Vec::new();
        for schema in schemas {
            let schema = self.description.resolved(schema);
            match schema["anyOf"].as_array() {
                Some(any) => all.extend(self.alternatives(&any.iter().collect::<Vec<_>>())),
                None => all.push(schema),
            }
        }
        all
    }
}

/// Whether any of the schemas accepts a value of this type.
fn is_of(schemas: &[&Json], kind: &str) -> bool {
    schemas.iter().any(|schema| match &schema["type"] {
        Json::Array(kinds) => kinds.iter().any(|one| one == kind),
        one => one == kind,
    })
}

/// Whether a body contains any data, not just an empty wrapped list.
fn shows_anything(body: &Json) -> bool {
    match body {
        Json::Array(items) => !items.is_empty(),
        Json::Object(map) => match map.get("payload").or_else(|| map.get("data")) {
            Some(payload) => shows_anything(payload),
            None => !map.is_empty(),
        },
        _ => false,
    }
}
