//! Custom attribute definitions.

use axum::response::Response;
use parley_proto::{self as pb, CustomAttributeModel, CustomAttributeType};

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    api_router::ApiRouter,
    json::{
        self,
        record::CustomAttributeDefinition,
        values::{Name, OneOf},
    },
    lists::rows::Rows,
    openapi::RouteDescription,
    params::{declaration::params, fields::ParamReader},
};

/// A name, or its index among the names.
type Numbered<T> = OneOf<Name<T>, i64>;

params! {
    pub struct CustomAttributeParams {
        attribute_model: Numbered<CustomAttributeModel>,
        attribute_key: String,
        attribute_display_name: String,
        attribute_display_type: Numbered<CustomAttributeType>,
        attribute_description: Option<String>,
        attribute_values: Vec<String>,
        regex_pattern: Option<String>,
        regex_cue: Option<String>,
    }
}

impl JsonRecord for pb::CustomAttributeDefinition {
    type Json = CustomAttributeDefinition;
    type Rows = Rows<CustomAttributeDefinition>;
    type Params = CustomAttributeParams;

    fn from_params(params: CustomAttributeParams) -> Self {
        Self {
            model: params.attribute_model.map_or(0, i32::from),
            key: params.attribute_key.unwrap_or_default(),
            display_name: params.attribute_display_name.unwrap_or_default(),
            r#type: params.attribute_display_type.map_or(0, i32::from),
            description: params.attribute_description,
            values: params.attribute_values.unwrap_or_default(),
            regex_pattern: params.regex_pattern,
            regex_cue: params.regex_cue,
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
            model: fields
                .choice_or_index::<CustomAttributeModel>("attribute_model")
                .map_or(0, i32::from),
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

pub fn routes() -> ApiRouter {
    const PATH: &str = "/api/v1/accounts/{account_id}/custom_attribute_definitions";
    RecordRoutes::<pb::CustomAttributeDefinition>::new("Custom attributes", PATH)
        .list("listCustomAttributeDefinitions", |route| {
            route.query::<Numbered<CustomAttributeModel>>("attribute_model")
        })
        .create("createCustomAttributeDefinition", |route| {
            route.required(&["attribute_display_name", "attribute_key"])
        })
        .show("showCustomAttributeDefinition", |route| route)
        .update("updateCustomAttributeDefinition", |route| {
            let last = ["attribute_values", "attribute_display_name", "attribute_key"];
            route.without("attribute_model").listed_last(&last)
        })
        .delete("deleteCustomAttributeDefinition", RouteDescription::returns_no_content)
        .into_router()
}
