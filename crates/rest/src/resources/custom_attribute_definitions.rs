//! Custom attribute definitions.

use axum::response::Response;
use parley_proto as pb;
use serde_json::Value as Json;

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json,
    openapi::{
        RouteDescription,
        schema::{self, Schema, any_of, integer, list as list_of, text},
    },
    params::fields::ParamReader,
};

impl JsonRecord for pb::CustomAttributeDefinition {
    const ATTRIBUTES: &'static [&'static str] = &[
        "attribute_model",
        "attribute_key",
        "attribute_display_name",
        "attribute_display_type",
        "attribute_description",
        "attribute_values",
        "regex_pattern",
        "regex_cue",
    ];
    const JSON: fn(&Self) -> Json = json::record::definition;
    const SCHEMA: fn() -> Schema = json::record::definition_schema;

    fn read(fields: &mut ParamReader<'_>) -> Self {
        Self {
            model: numbered(fields, "attribute_model", &json::record::MODELS).map_or(0, i32::from),
            key: fields.text("attribute_key").unwrap_or_default(),
            display_name: fields.text("attribute_display_name").unwrap_or_default(),
            r#type: numbered(fields, "attribute_display_type", &json::record::TYPES).map_or(0, i32::from),
            description: fields.text("attribute_description"),
            values: fields.texts("attribute_values").unwrap_or_default(),
            regex_pattern: fields.text("regex_pattern"),
            regex_cue: fields.text("regex_cue"),
            ..Self::default()
        }
    }

    fn field(attribute: &str) -> Option<&str> {
        match attribute.strip_prefix("attribute_").unwrap_or(attribute) {
            "model" => None,
            "display_type" => Some("type"),
            field => Some(field),
        }
    }

    fn list(fields: &mut ParamReader<'_>) -> pb::ListCustomAttributeDefinitionsRequest {
        pb::ListCustomAttributeDefinitionsRequest {
            model: numbered(fields, "attribute_model", &json::record::MODELS).map_or(0, i32::from),
            ..Default::default()
        }
    }

    fn deleted() -> Response {
        json::no_content()
    }
}

fn settings(route: RouteDescription) -> RouteDescription {
    route
        .body("attribute_display_type", by_name(&json::record::TYPES))
        .bodies(&["attribute_description", "regex_pattern", "regex_cue"], &text().or_null())
        .body("attribute_values", list_of(text()))
}

pub fn routes() -> ApiRouter {
    const PATH: &str = "/api/v1/accounts/{account_id}/custom_attribute_definitions";
    RecordRoutes::<pb::CustomAttributeDefinition>::new("Custom attributes", PATH)
        .list("listCustomAttributeDefinitions", |route| {
            route.query("attribute_model", by_name(&json::record::MODELS))
        })
        .create("createCustomAttributeDefinition", |route| {
            settings(route)
                .body("attribute_model", by_name(&json::record::MODELS))
                .required_body("attribute_display_name", text())
                .required_body("attribute_key", text())
        })
        .show("showCustomAttributeDefinition", |route| route)
        .update("updateCustomAttributeDefinition", |route| {
            settings(route).body("attribute_display_name", text()).body("attribute_key", text())
        })
        .delete("deleteCustomAttributeDefinition", RouteDescription::returns_no_content)
        .into_router()
}

/// Parses a value of `names`, given by its name or its index.
fn numbered<T: Copy>(fields: &mut ParamReader<'_>, key: &str, names: &[(&'static str, T)]) -> Option<T> {
    let index = fields.integer(key).and_then(|number| usize::try_from(number).ok());
    match index.and_then(|index| names.get(index)) {
        Some((_, value)) => Some(*value),
        None => fields.choice(key, names),
    }
}

/// The schema of a parameter that [`numbered`] parses.
fn by_name<T>(names: &[(&'static str, T)]) -> Schema {
    any_of([schema::names(names), integer()])
}
