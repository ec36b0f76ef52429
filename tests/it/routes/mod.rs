//! The whole REST gateway: who may call which route, and how arbitrary requests are handled. Both tests iterate over the routes in the
//! `OpenAPI` description, so they cover new routes automatically.

mod fuzz;
mod permissions;

use serde_json::{Value as Json, json};

/// The simplest value that a schema allows, including optional fields if `whole`.
pub fn plain(schema: &Json, components: &Json, whole: bool) -> Json {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return plain(&components["schemas"][name], components, whole);
    }
    if let Some(first) = schema["enum"].as_array().and_then(|choices| choices.first()) {
        return first.clone();
    }
    if let Some(only) = schema.get("const") {
        return only.clone();
    }
    if let Some(first) = ["anyOf", "oneOf"].iter().find_map(|of| schema[of].as_array()?.first()) {
        return plain(first, components, whole);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([plain(&schema["items"], components, whole)]),
        Some("object") => {
            let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties
                .filter(|(name, _)| whole || required.iter().any(|one| one == *name))
                .map(|(name, inner)| (name.clone(), plain(inner, components, whole)))
                .collect()
        }
        _ => json!("x"),
    }
}

/// The schema of an operation's JSON body, or null if it takes none.
pub fn body_schema(operation: &Json) -> &Json {
    &operation["requestBody"]["content"]["application/json"]["schema"]
}
