//! The server's `OpenAPI` description, and validation of responses against it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use jsonschema::Validator;
use serde_json::{Value as Json, json};

/// The description of a server, with its compiled schemas.
#[derive(Debug)]
pub struct Description {
    document: Json,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Description {
    /// Fetches the description of the REST gateway at `root` (`http://host:port`).
    pub async fn read(client: &reqwest::Client, root: &str) -> Self {
        let answer = client
            .get(format!("{root}/openapi.json"))
            .send()
            .await
            .expect("the server responds");
        let text = answer.text().await.expect("the description arrives");
        Self::new(serde_json::from_str(&text).expect("the description is JSON"))
    }

    /// Wraps a document.
    pub fn new(document: Json) -> Self {
        Self {
            document,
            validators: Mutex::default(),
        }
    }

    /// The document.
    pub fn document(&self) -> &Json {
        &self.document
    }

    /// The template of a path, such as `/api/v1/accounts/{account_id}/inboxes`, if it is described. Literal segments take precedence over
    /// parameters.
    pub fn template(&self, path: &str) -> Option<&str> {
        let path = path.split('?').next().unwrap_or_default();
        let described = self.document["paths"].as_object().expect("the description has paths");
        let plain = path.strip_suffix(".json").unwrap_or(path);
        let fits = |path: &str| {
            let templates = described.keys().filter(|template| matches(template, path));
            templates.min_by_key(|template| template.matches('{').count()).map(String::as_str)
        };
        fits(path).or_else(|| fits(plain))
    }

    /// Whether a request may be repeated under the same `Idempotency-Key`, according to the description.
    pub fn takes_key(&self, method: &str, path: &str) -> bool {
        let operation = self
            .template(path)
            .map(|template| &self.document["paths"][template][method.to_ascii_lowercase()]);
        let parameters = operation.and_then(|operation| operation["parameters"].as_array());
        parameters.is_some_and(|parameters| parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key"))
    }

    /// The method in capitals and the path template of every operation.
    pub fn operations(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().expect("the description has paths");
        let mut all = Vec::new();
        for (path, methods) in paths {
            for method in methods.as_object().expect("a path has methods").keys() {
                all.push((method.to_ascii_uppercase(), path.clone()));
            }
        }
        all
    }

    /// The target of a reference within the document, or the value itself.
    pub fn resolved<'a>(&'a self, value: &'a Json) -> &'a Json {
        let target = value["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
        target.and_then(|path| self.document.pointer(path)).unwrap_or(value)
    }

    /// The violations of a schema, one per line.
    pub fn errors(&self, schema: &Json, value: &Json) -> Vec<String> {
        let validator = self.validator(schema);
        let errors = validator.iter_errors(value);
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// Asserts that a response is described: its route, status, content type and schema. `body` is `None` if it is empty.
    pub fn check(&self, method: &str, path: &str, status: u16, content_type: &str, body: Option<&str>) {
        let what = format!("{method} {path} was answered with {status} {content_type}: {body:?}");
        let template = self.template(path);
        let operation = template.and_then(|template| self.document["paths"][template].get(method.to_ascii_lowercase()));
        let Some(operation) = operation else {
            assert_eq!(status, 404, "what is not described is no route; {what}");
            let fault = body.map(|body| serde_json::from_str::<Json>(body).expect("a fault is JSON"));
            let mut fault = fault.unwrap_or_default();
            // For creating a webhook, the text continues with the alternative.
            if method == "POST"
                && path.ends_with("/webhooks")
                && fault["error"].as_str().is_some_and(|text| text.starts_with("Not Found: "))
            {
                fault["error"] = json!("Not Found");
            }
            assert_eq!(fault, json!({"status": 404, "error": "Not Found"}), "{what}");
            return;
        };
        let response = self.resolved(&operation["responses"][status.to_string()]);
        assert!(response.is_object(), "the status is not described; {what}");
        let Some(body) = body else {
            let empty = response.get("content").is_none() || response["x-parley-may-be-empty"] == json!(true);
            assert!(empty, "a body is described; {what}");
            return;
        };
        if response["x-parley-may-be-empty"] == json!(true) {
            let fault: Json = serde_json::from_str(body).expect("a fault is JSON");
            assert!(fault["error"].is_string(), "{what}");
            return;
        }
        let kind = content_type.split(';').next().unwrap_or_default();
        let media = &response["content"][kind];
        assert!(media.is_object(), "the content type is not described; {what}");
        let Some(schema) = media.get("schema") else { return };
        let body = if kind == "application/json" {
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}; {what}"))
        } else {
            json!(body)
        };
        let wrong = self.errors(schema, &body);
        assert!(wrong.is_empty(), "the shape is another: {}\n{what}", wrong.join("\n"));
    }

    fn validator(&self, schema: &Json) -> Arc<Validator> {
        let mut validators = self.validators.lock().expect("nobody panics while compiling");
        let made = validators.entry(schema.to_string()).or_insert_with(|| {
            // Schemas refer to the components, so include these.
            let whole = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "allOf": [schema],
                "components": self.document["components"],
            });
            let options = jsonschema::options()
                .should_validate_formats(true)
                .should_ignore_unknown_formats(true);
            Arc::new(options.build(&whole).expect("the description is of valid schemas"))
        });
        Arc::clone(made)
    }
}

fn matches(template: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let all = template.split('/').all(|wanted| {
        parts.next().is_some_and(|part| {
            if wanted.starts_with('{') {
                !part.is_empty()
            } else {
                part == wanted
            }
        })
    });
    all && parts.next().is_none()
}
