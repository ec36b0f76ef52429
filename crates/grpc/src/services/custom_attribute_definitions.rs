//! `CustomAttributeDefinitionsService`.

use bytes::Bytes;
use parley_domain::{
    Domain,
    kind::{AttributeModel, AttributeType},
    record::custom_attribute_definition,
    records::custom_attribute_definitions::{CustomAttributeDefinitions, DefinitionPatch, NewDefinition},
};
use parley_eventlog::conversion::{FromStored as _, ToProto as _};
use parley_proto::{self as pb, custom_attribute_definitions_service_server::CustomAttributeDefinitionsService};
use parley_types::{
    error::Result,
    id::{AccountId, DefinitionId},
};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    request::{caller, idempotent_call},
    response::to_response,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum characters of a description.
const TEXT: usize = 20_000;

/// Implements `CustomAttributeDefinitionsService`.
#[derive(Clone, Debug)]
pub struct CustomAttributeDefinitionsApi {
    definitions: CustomAttributeDefinitions,
}

impl CustomAttributeDefinitionsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            definitions: domain.custom_attribute_definitions.clone(),
        }
    }
}

#[tonic::async_trait]
impl CustomAttributeDefinitionsService for CustomAttributeDefinitionsApi {
    async fn create_custom_attribute_definition(
        &self,
        request: Request<pb::CreateCustomAttributeDefinitionRequest>,
    ) -> Result<Response<pb::CreateCustomAttributeDefinitionResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |row: &custom_attribute_definition::Model, cursor: Bytes| pb::CreateCustomAttributeDefinitionResponse {
            custom_attribute_definition: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let custom_attribute_definition = required("custom_attribute_definition", req.custom_attribute_definition).or_status()?;
        let new = fields.within("custom_attribute_definition", |fields| {
            let paths = ["key", "display_name", "type", "description", "values", "regex_pattern", "regex_cue"].map(str::to_owned);
            let model = fields.kind::<pb::CustomAttributeModel>("model", custom_attribute_definition.model);
            NewDefinition {
                model: model
                    .and_then(pb::CustomAttributeModel::to_row)
                    .unwrap_or(AttributeModel::Conversation),
                key: custom_attribute_definition.key.clone(),
                display_name: custom_attribute_definition.display_name.clone(),
                patch: patch(fields, &custom_attribute_definition, &paths),
            }
        });
        fields.finish().or_status()?;
        to_response(self.definitions.create(call, new).await.or_status()?, respond)
    }

    async fn get_custom_attribute_definition(
        &self,
        request: Request<pb::GetCustomAttributeDefinitionRequest>,
    ) -> Result<Response<pb::GetCustomAttributeDefinitionResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), DefinitionId(req.custom_attribute_definition_id));
        let row = self
            .definitions
            .get(&*caller(&request).or_status()?, account, id)
            .await
            .or_status()?;
        Ok(Response::new(pb::GetCustomAttributeDefinitionResponse {
            custom_attribute_definition: Some(row.to_proto()),
        }))
    }

    async fn list_custom_attribute_definitions(
        &self,
        request: Request<pb::ListCustomAttributeDefinitionsRequest>,
    ) -> Result<Response<pb::ListCustomAttributeDefinitionsResponse>, Status> {
        let req = request.get_ref();
        let without_paging = pb::ListCustomAttributeDefinitionsRequest {
            page_size: 0,
            page_token: String::new(),
            ..req.clone()
        };
        let (caller, account) = (caller(&request).or_status()?, AccountId(req.account_id));
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 1000), &req.page_token, 0);
        let model = fields.kind::<pb::CustomAttributeModel>("model", req.model);
        fields.finish().or_status()?;
        let found = self
            .definitions
            .list(&caller, account, model.and_then(pb::CustomAttributeModel::to_row), &page)
            .await
            .or_status()?;
        let (custom_attribute_definitions, next_page_token) =
            page::fill(&without_paging, &found, pb::CustomAttributeDefinition::from_stored);
        Ok(Response::new(pb::ListCustomAttributeDefinitionsResponse {
            custom_attribute_definitions,
            next_page_token,
        }))
    }

    async fn update_custom_attribute_definition(
        &self,
        request: Request<pb::UpdateCustomAttributeDefinitionRequest>,
    ) -> Result<Response<pb::UpdateCustomAttributeDefinitionResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |row: &custom_attribute_definition::Model, cursor: Bytes| pb::UpdateCustomAttributeDefinitionResponse {
            custom_attribute_definition: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let custom_attribute_definition = required("custom_attribute_definition", req.custom_attribute_definition).or_status()?;
        let paths = mask(&mut fields, req.update_mask);
        let patch = fields.within("custom_attribute_definition", |fields| {
            patch(fields, &custom_attribute_definition, &paths)
        });
        fields.finish().or_status()?;
        to_response(
            self.definitions
                .update(call, DefinitionId(custom_attribute_definition.id), patch)
                .await
                .or_status()?,
            respond,
        )
    }

    async fn delete_custom_attribute_definition(
        &self,
        request: Request<pb::DeleteCustomAttributeDefinitionRequest>,
    ) -> Result<Response<pb::DeleteCustomAttributeDefinitionResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteCustomAttributeDefinitionResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        fields.finish().or_status()?;
        to_response(
            self.definitions
                .delete(call, DefinitionId(req.custom_attribute_definition_id))
                .await
                .or_status()?,
            respond,
        )
    }
}

fn patch(fields: &mut Validator, definition: &pb::CustomAttributeDefinition, paths: &[String]) -> DefinitionPatch {
    let mut patch = DefinitionPatch::default();
    for path in paths {
        match path.as_str() {
            "key" => {
                fields.required(path, &definition.key, SHORT_TEXT);
                patch.key = Some(definition.key.clone());
            }
            "display_name" => {
                fields.required(path, &definition.display_name, SHORT_TEXT);
                patch.display_name = Some(definition.display_name.clone());
            }
            "type" => {
                let kind = fields.kind::<pb::CustomAttributeType>(path, definition.r#type);
                patch.display_type = Some(kind.and_then(pb::CustomAttributeType::to_row).unwrap_or(AttributeType::Text));
            }
            "description" => patch.description = Some(fields.optional(path, definition.description.clone(), TEXT)),
            "values" => {
                fields.count(path, definition.values.len(), 1000);
                for value in definition.values.iter().take(1000) {
                    fields.text(path, value, SHORT_TEXT);
                }
                patch.choices = Some(definition.values.clone());
            }
            "regex_pattern" => patch.regex_pattern = Some(fields.optional(path, definition.regex_pattern.clone(), SHORT_TEXT)),
            "regex_cue" => patch.regex_cue = Some(fields.optional(path, definition.regex_cue.clone(), SHORT_TEXT)),
            other => fields.unknown_path(other),
        }
    }
    patch
}
