//! Custom attribute definitions.

use parley_proto as pb;
use parley_proto::{CustomAttributeModel, CustomAttributeType};
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{
        self,
        record::CustomAttributeDefinition,
        values::{Name, Named, OneOf},
    },
    lists::rows,
    openapi::{RouteDescription, describe},
    params::{Params, fields::ParamReader},
};

/// The attributes of a definition.
const ATTRIBUTES: [&str; 8] = [
    "attribute_model",
    "attribute_key",
    "attribute_display_name",
    "attribute_display_type",
    "attribute_description",
    "attribute_values",
    "regex_pattern",
    "regex_cue",
];

pub fn routes() -> ApiRouter {
    const LIST: &str = "/api/v1/accounts/{account_id}/custom_attribute_definitions";
    const ONE: &str = "/api/v1/accounts/{account_id}/custom_attribute_definitions/{id}";
    let settings = |description: RouteDescription| {
        description
            .root("custom_attribute_definition")
            .body::<OneOf<Name<CustomAttributeType>, i64>>("attribute_display_type")
            .bodies::<Option<String>>(&["attribute_description", "regex_pattern", "regex_cue"])
            .body::<Vec<String>>("attribute_values")
            .returns::<CustomAttributeDefinition>()
    };
    ApiRouter::new("Custom attributes")
        .get(
            LIST,
            list,
            describe(
                "listCustomAttributeDefinitions",
                "CustomAttributeDefinitionsService.ListCustomAttributeDefinitions",
            )
            .query::<OneOf<Name<CustomAttributeModel>, i64>>("attribute_model")
            .returns::<Vec<CustomAttributeDefinition>>(),
        )
        .post(
            LIST,
            create,
            settings(describe(
                "createCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.CreateCustomAttributeDefinition",
            ))
            .body::<OneOf<Name<CustomAttributeModel>, i64>>("attribute_model")
            .required_body::<String>("attribute_display_name")
            .required_body::<String>("attribute_key"),
        )
        .get(
            ONE,
            show,
            describe(
                "showCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.GetCustomAttributeDefinition",
            )
            .returns::<CustomAttributeDefinition>(),
        )
        .update(
            ONE,
            update,
            settings(describe(
                "updateCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.UpdateCustomAttributeDefinition",
            ))
            .body::<String>("attribute_display_name")
            .body::<String>("attribute_key"),
        )
        .delete(
            ONE,
            delete,
            describe(
                "deleteCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.DeleteCustomAttributeDefinition",
            )
            .returns_no_content(),
        )
}

async fn list(call: Call, params: Params) -> ApiResult {
    let mut outer = params.fields();
    let account_id = outer.account();
    let model = numbered::<CustomAttributeModel>(&mut outer, "attribute_model").map_or(0, i32::from);
    call.authorize_error(account_id, outer.finish()).await?;
    rows::all_pages(
        |rows| rows,
        move |page_token| {
            let request = pb::ListCustomAttributeDefinitionsRequest {
                account_id,
                model,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.definitions(), call.request(request));
            async move {
                let page = client.list_custom_attribute_definitions(request).await?.into_inner();
                Ok((
                    page.custom_attribute_definitions
                        .into_iter()
                        .map(CustomAttributeDefinition::from)
                        .collect(),
                    page.next_page_token,
                ))
            }
        },
    )
    .await
}

async fn create(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call
        .authorize_error(account_id, params.root("custom_attribute_definition", &ATTRIBUTES))
        .await?;
    let (row, _) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    let request = pb::CreateCustomAttributeDefinitionRequest {
        account_id,
        request_id: call.request_id(),
        custom_attribute_definition: Some(row),
    };
    let made = call
        .definitions()
        .create_custom_attribute_definition(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&CustomAttributeDefinition::from(
        made.custom_attribute_definition.unwrap_or_default(),
    )))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::GetCustomAttributeDefinitionRequest {
        account_id,
        custom_attribute_definition_id: outer.path_id("id"),
    };
    let found = call
        .definitions()
        .get_custom_attribute_definition(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&CustomAttributeDefinition::from(
        found.custom_attribute_definition.unwrap_or_default(),
    )))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call
        .authorize_error(account_id, params.root("custom_attribute_definition", &ATTRIBUTES))
        .await?;
    let (mut row, paths) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    if paths.is_empty() {
        return show(call, params).await;
    }
    row.id = outer.path_id("id");
    let request = pb::UpdateCustomAttributeDefinitionRequest {
        account_id,
        request_id: call.request_id(),
        custom_attribute_definition: Some(row),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call
        .definitions()
        .update_custom_attribute_definition(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&CustomAttributeDefinition::from(
        changed.custom_attribute_definition.unwrap_or_default(),
    )))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::DeleteCustomAttributeDefinitionRequest {
        account_id,
        request_id: call.request_id(),
        custom_attribute_definition_id: outer.path_id("id"),
    };
    call.definitions().delete_custom_attribute_definition(call.request(request)).await?;
    Ok(json::no_content())
}

/// Parses a value of `names`, given by its name or its index.
fn numbered<T: Named>(fields: &mut ParamReader<'_>, key: &str) -> Option<T> {
    let index = fields.integer(key).and_then(|number| usize::try_from(number).ok());
    match index.and_then(|index| T::NAMES.get(index)) {
        Some((_, value)) => Some(*value),
        None => fields.choice(key),
    }
}

/// Parses a definition. Also returns the update mask paths of the attributes that were sent, except the model, which cannot change.
fn read(fields: &mut ParamReader<'_>) -> (pb::CustomAttributeDefinition, Vec<String>) {
    let definition = pb::CustomAttributeDefinition {
        model: numbered::<CustomAttributeModel>(fields, "attribute_model").map_or(0, i32::from),
        key: fields.text("attribute_key").unwrap_or_default(),
        display_name: fields.text("attribute_display_name").unwrap_or_default(),
        r#type: numbered::<CustomAttributeType>(fields, "attribute_display_type").map_or(0, i32::from),
        description: fields.text("attribute_description"),
        values: fields.texts("attribute_values").unwrap_or_default(),
        regex_pattern: fields.text("regex_pattern"),
        regex_cue: fields.text("regex_cue"),
        ..Default::default()
    };
    let sent = fields.sent(&ATTRIBUTES).into_iter().filter_map(|name| {
        let path = match name.strip_prefix("attribute_").unwrap_or(&name) {
            "model" => return None,
            "display_type" => "type",
            path => path,
        };
        Some(path.to_owned())
    });
    let sent = sent.collect();
    (definition, sent)
}
