//! Custom attribute definitions.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    Answer,
    call::Call,
    door::Door,
    json,
    lists::rows,
    openapi::{
        About, about,
        schema::{self, Schema, either, integer, list as list_of, text},
    },
    params::{Params, fields::Fields},
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

pub fn routes() -> Door {
    const LIST: &str = "/api/v1/accounts/{account_id}/custom_attribute_definitions";
    const ONE: &str = "/api/v1/accounts/{account_id}/custom_attribute_definitions/{id}";
    let shape = json::record::definition_schema;
    let settings = |about: About| {
        about
            .root("custom_attribute_definition")
            .body("attribute_display_type", by_name(&json::record::TYPES))
            .bodies(&["attribute_description", "regex_pattern", "regex_cue"], &text().or_null())
            .body("attribute_values", list_of(text()))
            .answers(shape())
    };
    Door::new("Custom attributes")
        .get(
            LIST,
            list,
            about(
                "listCustomAttributeDefinitions",
                "CustomAttributeDefinitionsService.ListCustomAttributeDefinitions",
            )
            .query("attribute_model", by_name(&json::record::MODELS))
            .answers(list_of(shape())),
        )
        .post(
            LIST,
            create,
            settings(about(
                "createCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.CreateCustomAttributeDefinition",
            ))
            .body("attribute_model", by_name(&json::record::MODELS))
            .needs("attribute_display_name", text())
            .needs("attribute_key", text()),
        )
        .get(
            ONE,
            show,
            about(
                "showCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.GetCustomAttributeDefinition",
            )
            .answers(shape()),
        )
        .update(
            ONE,
            update,
            settings(about(
                "updateCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.UpdateCustomAttributeDefinition",
            ))
            .body("attribute_display_name", text())
            .body("attribute_key", text()),
        )
        .delete(
            ONE,
            delete,
            about(
                "deleteCustomAttributeDefinition",
                "CustomAttributeDefinitionsService.DeleteCustomAttributeDefinition",
            )
            .answers_nothing(),
        )
}

async fn list(call: Call, params: Params) -> Answer {
    let mut outer = params.fields();
    let account_id = outer.account();
    let model = numbered(&mut outer, "attribute_model", &json::record::MODELS).map_or(0, i32::from);
    call.admit(account_id, outer.verdict()).await?;
    rows::whole(
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
                    page.custom_attribute_definitions.iter().map(json::record::definition).collect(),
                    page.next_page_token,
                ))
            }
        },
    )
    .await
}

async fn create(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call
        .admit(account_id, params.root("custom_attribute_definition", &ATTRIBUTES))
        .await?;
    let (row, _) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
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
    Ok(json::ok(&json::record::definition(
        &made.custom_attribute_definition.unwrap_or_default(),
    )))
}

async fn show(call: Call, params: Params) -> Answer {
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
    Ok(json::ok(&json::record::definition(
        &found.custom_attribute_definition.unwrap_or_default(),
    )))
}

async fn update(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call
        .admit(account_id, params.root("custom_attribute_definition", &ATTRIBUTES))
        .await?;
    let (mut row, paths) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
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
    Ok(json::ok(&json::record::definition(
        &changed.custom_attribute_definition.unwrap_or_default(),
    )))
}

async fn delete(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::DeleteCustomAttributeDefinitionRequest {
        account_id,
        request_id: call.request_id(),
        custom_attribute_definition_id: outer.path_id("id"),
    };
    call.definitions().delete_custom_attribute_definition(call.request(request)).await?;
    Ok(json::nothing())
}

/// Parses a value of `names`, given by its name or its index.
fn numbered<T: Copy>(fields: &mut Fields<'_>, key: &str, names: &[(&'static str, T)]) -> Option<T> {
    let place = fields.integer(key).and_then(|number| usize::try_from(number).ok());
    match place.and_then(|place| names.get(place)) {
        Some((_, value)) => Some(*value),
        None => fields.choice(key, names),
    }
}

/// The schema of a parameter that [`numbered`] parses.
fn by_name<T>(names: &[(&'static str, T)]) -> Schema {
    either([schema::names(names), integer()])
}

/// Parses a definition. Also returns the update mask paths of the attributes that were sent, except the model, which cannot change.
fn read(fields: &mut Fields<'_>) -> (pb::CustomAttributeDefinition, Vec<String>) {
    let definition = pb::CustomAttributeDefinition {
        model: numbered(fields, "attribute_model", &json::record::MODELS).map_or(0, i32::from),
        key: fields.text("attribute_key").unwrap_or_default(),
        display_name: fields.text("attribute_display_name").unwrap_or_default(),
        r#type: numbered(fields, "attribute_display_type", &json::record::TYPES).map_or(0, i32::from),
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
