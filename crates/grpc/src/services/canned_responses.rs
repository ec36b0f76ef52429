//! `CannedResponsesService`.

use bytes::Bytes;
use parley_domain::{
    Domain,
    record::canned_response,
    records::canned_responses::{CannedResponsePatch, CannedResponses},
};
use parley_eventlog::conversion::{FromStored as _, ToProto as _};
use parley_proto::{self as pb, canned_responses_service_server::CannedResponsesService};
use parley_types::{
    error::Result,
    id::{AccountId, CannedResponseId},
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

/// Maximum characters of the content.
const TEXT: usize = 20_000;

/// Implements `CannedResponsesService`.
#[derive(Clone, Debug)]
pub struct CannedResponsesApi {
    canned_responses: CannedResponses,
}

impl CannedResponsesApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            canned_responses: domain.canned_responses.clone(),
        }
    }
}

#[tonic::async_trait]
impl CannedResponsesService for CannedResponsesApi {
    async fn create_canned_response(
        &self,
        request: Request<pb::CreateCannedResponseRequest>,
    ) -> Result<Response<pb::CreateCannedResponseResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |row: &canned_response::Model, cursor: Bytes| pb::CreateCannedResponseResponse {
            canned_response: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let canned_response = required("canned_response", req.canned_response).or_status()?;
        fields.within("canned_response", |fields| {
            fields.required("short_code", &canned_response.short_code, SHORT_TEXT);
            fields.required("content", &canned_response.content, TEXT);
        });
        fields.finish().or_status()?;
        let pb::CannedResponse { short_code, content, .. } = canned_response;
        to_response(self.canned_responses.create(call, short_code, content).await.or_status()?, respond)
    }

    async fn get_canned_response(
        &self,
        request: Request<pb::GetCannedResponseRequest>,
    ) -> Result<Response<pb::GetCannedResponseResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), CannedResponseId(req.canned_response_id));
        let row = self
            .canned_responses
            .get(&*caller(&request).or_status()?, account, id)
            .await
            .or_status()?;
        Ok(Response::new(pb::GetCannedResponseResponse {
            canned_response: Some(row.to_proto()),
        }))
    }

    async fn list_canned_responses(
        &self,
        request: Request<pb::ListCannedResponsesRequest>,
    ) -> Result<Response<pb::ListCannedResponsesResponse>, Status> {
        let req = request.get_ref();
        let without_paging = pb::ListCannedResponsesRequest {
            page_size: 0,
            page_token: String::new(),
            ..req.clone()
        };
        let (caller, account) = (caller(&request).or_status()?, AccountId(req.account_id));
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 1000), &req.page_token, 0);
        fields.text("query", &req.query, SHORT_TEXT);
        fields.finish().or_status()?;
        let found = self.canned_responses.list(&caller, account, &req.query, &page).await.or_status()?;
        let (canned_responses, next_page_token) = page::fill(&without_paging, &found, pb::CannedResponse::from_stored);
        Ok(Response::new(pb::ListCannedResponsesResponse {
            canned_responses,
            next_page_token,
        }))
    }

    async fn update_canned_response(
        &self,
        request: Request<pb::UpdateCannedResponseRequest>,
    ) -> Result<Response<pb::UpdateCannedResponseResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |row: &canned_response::Model, cursor: Bytes| pb::UpdateCannedResponseResponse {
            canned_response: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let canned_response = required("canned_response", req.canned_response).or_status()?;
        let paths = mask(&mut fields, req.update_mask);
        let patch = fields.within("canned_response", |fields| patch(fields, &canned_response, &paths));
        fields.finish().or_status()?;
        to_response(
            self.canned_responses
                .update(call, CannedResponseId(canned_response.id), patch)
                .await
                .or_status()?,
            respond,
        )
    }

    async fn delete_canned_response(
        &self,
        request: Request<pb::DeleteCannedResponseRequest>,
    ) -> Result<Response<pb::DeleteCannedResponseResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteCannedResponseResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        fields.finish().or_status()?;
        to_response(
            self.canned_responses
                .delete(call, CannedResponseId(req.canned_response_id))
                .await
                .or_status()?,
            respond,
        )
    }
}

fn patch(fields: &mut Validator, response: &pb::CannedResponse, paths: &[String]) -> CannedResponsePatch {
    let mut patch = CannedResponsePatch::default();
    for path in paths {
        match path.as_str() {
            "short_code" => {
                fields.required(path, &response.short_code, SHORT_TEXT);
                patch.short_code = Some(response.short_code.clone());
            }
            "content" => {
                fields.required(path, &response.content, TEXT);
                patch.content = Some(response.content.clone());
            }
            other => fields.unknown_path(other),
        }
    }
    patch
}
