//! Custom attribute definitions.

use axum::response::Response;
use parley_proto::{self as pb, CustomAttributeModel, CustomAttributeType};

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json::{
        self,
        record::CustomAttributeDefinition,
        values::{Name, Named, OneOf},
    },
    lists::rows::Rows,
    openapi::RouteDescription,
    params::fields::ParamReader,
};

impl JsonRecord for pb::CustomAttributeDefinition {
    type Json = CustomAttributeDefinition;
    type Rows = Rows<CustomAttributeDefinition>;
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

    fn read(fields: &mut ParamReader<'_>) -> Self {
        Self {
            model: numbered::<CustomAttributeModel>(fields, "attribute_model").map_or(0, i32::from),
            key: fields.text("attribute_key").unwrap_or_default(),
            display_name: fields.text("attribute_display_name").unwrap_or_default(),
            r#type: numbered::<CustomAttributeType>(fields, "attribute_display_type").map_or(0, i32::from),
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
            model: numbered::<CustomAttributeModel>(fields, "attribute_model").map_or(0, i32::from),
            ..Default::default()
        }
    }

    fn frame(rows: Rows<CustomAttributeDefinition>) -> Self::Rows {
        rows
    }

    fn deleted() -> Response {
        json::no_content()
    }
}

fn settings(route: RouteDescription) -> RouteDescription {
    route
        .body::<Numbered<CustomAttributeType>>("attribute_display_type")
        .bodies::<Option<String>>(&["attribute_description", "regex_pattern", "regex_cue"])
        .body::<Vec<String>>("attribute_values")
}

pub fn routes() -> ApiRouter {
    const PATH: &str = "/api/v1/accounts/{account_id}/custom_attribute_definitions";
    RecordRoutes::<pb::CustomAttributeDefinition>::new("Custom attributes", PATH)
        .list("listCustomAttributeDefinitions", |route| {
            route.query::<Numbered<CustomAttributeModel>>("attribute_model")
        })
        .create("createCustomAttributeDefinition", |route| {
            settings(route)
                .body::<Numbered<CustomAttributeModel>>("attribute_model")
                .required_body::<String>("attribute_display_name")
                .required_body::<String>("attribute_key")
        })
        .show("showCustomAttributeDefinition", |route| route)
        .update("updateCustomAttributeDefinition", |route| {
            settings(route).bodies::<String>(&["attribute_display_name", "attribute_key"])
        })
        .delete("deleteCustomAttributeDefinition", RouteDescription::returns_no_content)
        .into_router()
}

/// A name, or its index among the names.
type Numbered<T> = OneOf<Name<T>, i64>;

/// Parses a value that is given by its name or its index.
fn numbered<T: Named>(fields: &mut ParamReader<'_>, key: &str) -> Option<T> {
    let index = fields.integer(key).and_then(|number| usize::try_from(number).ok());
    match index.and_then(|index| T::NAMES.get(index)) {
        Some((_, value)) => Some(*value),
        None => fields.choice(key),
    }
}
