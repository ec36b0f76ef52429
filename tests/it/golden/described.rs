//! The `OpenAPI` document is complete: every operation, parameter and schema has its texts, errors and examples, and each example matches its
//! schema. No text is unused.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value as Json;

use crate::support::{app::TestApp, database::Backend, description::Description};

const TEXTS: &str = "crates/rest/src/openapi/texts";

/// The prefix of the operation whose body is a signature that most sessions do not need, so it has no example request.
const WITHOUT_REQUEST: &str = "rotateClientPubsubToken";

async fn described() -> &'static Description {
    let app = TestApp::start(Backend::Sqlite).await;
    app.http().description().await
}

/// The operations by id; of the two methods of an update, only one.
fn operations(description: &Description) -> Vec<(String, &Json)> {
    let named = |(method, path): (String, String)| {
        let operation = &description.document()["paths"][&path][method.to_ascii_lowercase()];
        (operation["operationId"].as_str().unwrap_or_default().to_owned(), operation)
    };
    description.operations().into_iter().map(named).collect()
}

/// Whether a description exists and is a sentence.
fn is_sentence(text: &Json) -> bool {
    text.as_str().is_some_and(|text| text.len() > 5 && text.ends_with('.'))
}

#[tokio::test]
async fn every_operation_has_its_texts() {
    let description = described().await;
    let mut lacking = Vec::new();
    let mut need = |is_there: bool, what: String| {
        if !is_there {
            lacking.push(what);
        }
    };
    for (id, operation) in operations(description) {
        let summary = operation["summary"].as_str().unwrap_or_default();
        need(
            !summary.is_empty() && !summary.ends_with('.'),
            format!("{id}: a summary without a full stop"),
        );
        need(is_sentence(&operation["description"]), format!("{id}: a description"));
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let is_described = is_sentence(&parameter["description"]) || is_sentence(&parameter["schema"]["description"]);
            need(is_described, format!("{id}: a description of {}", parameter["name"]));
        }
        let body = &operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
        let fields = match body["properties"].as_object() {
            // The fields under the root key.
            Some(wrapped) if wrapped.len() == 1 && wrapped.values().all(|inner| inner["properties"].is_object()) => {
                wrapped.values().next().and_then(|inner| inner["properties"].as_object())
            }
            fields => fields,
        };
        for (name, field) in fields.into_iter().flatten() {
            need(is_sentence(&field["description"]), format!("{id}: a description of {name}"));
        }
    }
    let document = description.document();
    for tag in document["tags"].as_array().into_iter().flatten() {
        need(is_sentence(&tag["description"]), format!("the tag {}: a description", tag["name"]));
    }
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        need(is_sentence(&schema["description"]), format!("the schema {name}: a description"));
    }
    for kind in ["headers", "responses", "securitySchemes"] {
        for (name, component) in document["components"][kind].as_object().into_iter().flatten() {
            need(
                is_sentence(&component["description"]),
                format!("{name} of the {kind}: a description"),
            );
        }
    }
    assert!(
        lacking.is_empty(),
        "missing in {TEXTS}, or in the documentation of a type:\n{}",
        lacking.join("\n")
    );
}

#[tokio::test]
async fn every_operation_has_examples_and_errors() {
    let description = described().await;
    let mut lacking = Vec::new();
    for (id, operation) in operations(description) {
        // The document and its page need no example, and refuse nobody.
        if operation["tags"][0] == "Description" {
            continue;
        }
        let request = &operation["requestBody"]["content"]["application/json"];
        if request.is_object() && request["example"].is_null() && !id.starts_with(WITHOUT_REQUEST) {
            lacking.push(format!("{id} has no example of a request"));
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "path" && parameter["example"].is_null() && operation["tags"][0] != "Files" {
                lacking.push(format!("{id} has no example of {}", parameter["name"]));
            }
        }
        let responses = operation["responses"].as_object().expect("an operation has responses");
        let (success, errors): (Vec<_>, Vec<_>) = responses.iter().partition(|(status, _)| status.as_str() < "400");
        let shows = |response: &Json, kind: &str| !response["content"][kind]["example"].is_null();
        for (status, response) in success {
            for kind in ["application/json", "text/event-stream"] {
                if response["content"][kind].is_object() && !shows(response, kind) {
                    lacking.push(format!("{id} has no example of {status}"));
                }
            }
        }
        if errors.len() < 3 {
            lacking.push(format!("{id} has no errors"));
        }
        for (status, response) in errors {
            let response = description.resolved(response);
            let may_be_empty = response["x-parley-may-be-empty"] == true;
            if !may_be_empty && !shows(response, "application/json") && !shows(response, "text/plain") {
                lacking.push(format!("{id} has no example of {status}"));
            }
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

#[tokio::test]
async fn examples_match_their_schemas() {
    let description = described().await;
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut check = |what: String, content: &Json| {
        for media in content.as_object().into_iter().flat_map(|content| content.values()) {
            if let Some(example) = media.get("example") {
                count += 1;
                let errors = description.errors(&media["schema"], example);
                wrong.extend(errors.into_iter().map(|error| format!("{what}: {error}")));
            }
        }
    };
    for (id, operation) in operations(description) {
        check(format!("the request of {id}"), &operation["requestBody"]["content"]);
        for (status, response) in operation["responses"].as_object().expect("an operation has responses") {
            check(format!("{status} of {id}"), &description.resolved(response)["content"]);
        }
    }
    for (id, operation) in operations(description) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if let Some(example) = parameter.get("example") {
                let errors = description.errors(&parameter["schema"], example);
                wrong.extend(errors.into_iter().map(|error| format!("{} of {id}: {error}", parameter["name"])));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 1000, "{count} examples");
}

#[tokio::test]
async fn no_description_text_is_unused() {
    let description = described().await;
    let ids: BTreeSet<String> = operations(description).into_iter().map(|(id, _)| id).collect();
    let text = description.document().to_string();
    let mut unused = Vec::new();
    let is_there = |description: &toml::Value| {
        description
            .as_str()
            .is_some_and(|sentence| text.contains(&Json::from(sentence).to_string()))
    };
    for (file, texts) in files() {
        let texts: toml::Table = texts.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        for (name, entry) in &texts {
            let belongs = match file.as_str() {
                "parameters.toml" | "response_fields.toml" => is_there(entry),
                "errors.toml" => description.operations().iter().any(|(method, path)| {
                    let operation = &description.document()["paths"][path][method.to_ascii_lowercase()];
                    operation["responses"].get(name).is_some()
                }),
                _ => name == "description" || ids.contains(name),
            };
            if !belongs {
                unused.push(format!("{file}: {name}"));
            }
            for (field, sentence) in entry.get("fields").and_then(toml::Value::as_table).into_iter().flatten() {
                if !is_there(sentence) {
                    unused.push(format!("{file}: {name}.{field}"));
                }
            }
        }
    }
    assert!(unused.is_empty(), "texts of nothing:\n{}", unused.join("\n"));
}

/// The names and contents of the files with texts.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(TEXTS);
    let entries = fs::read_dir(folder).expect("there are texts");
    let paths = entries.map(|entry| entry.expect("the folder is readable").path());
    let named = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("a text is readable"))
        });
    named.collect()
}
