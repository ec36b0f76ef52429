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
    request::{caller, change},
    response::answered,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{Fields, SHORT, required},
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
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond).or_status()?;
        let asked = request.into_inner();
        let canned_response = required("canned_response", asked.canned_response).or_status()?;
        fields.within("canned_response", |fields| {
            fields.required("short_code", &canned_response.short_code, SHORT);
            fields.required("content", &canned_response.content, TEXT);
        });
        fields.done().or_status()?;
        let pb::CannedResponse { short_code, content, .. } = canned_response;
        answered(self.canned_responses.create(call, short_code, content).await.or_status()?, respond)
    }

    async fn get_canned_response(
        &self,
        request: Request<pb::GetCannedResponseRequest>,
    ) -> Result<Response<pb::GetCannedResponseResponse>, Status> {
        let asked = request.get_ref();
        let (account, id) = (AccountId(asked.account_id), CannedResponseId(asked.canned_response_id));
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
        let asked = request.get_ref();
        let same = pb::ListCannedResponsesRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        };
        let (caller, account) = (caller(&request).or_status()?, AccountId(asked.account_id));
        caller.access(account).or_status()?;
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 1000), &asked.page_token, 0);
        fields.text("query", &asked.query, SHORT);
        fields.done().or_status()?;
        let found = self
            .canned_responses
            .list(&caller, account, &asked.query, &page)
            .await
            .or_status()?;
        let (canned_responses, next_page_token) = page::fill(&same, &found, pb::CannedResponse::from_stored);
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
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond).or_status()?;
        let asked = request.into_inner();
        let canned_response = required("canned_response", asked.canned_response).or_status()?;
        let paths = mask(&mut fields, asked.update_mask);
        let patch = fields.within("canned_response", |fields| patch(fields, &canned_response, &paths));
        fields.done().or_status()?;
        answered(
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
        let asked = request.get_ref();
        caller(&request)
            .or_status()?
            .write_access(AccountId(asked.account_id))
            .or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteCannedResponseResponse { cursor };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, AccountId(asked.account_id), respond).or_status()?;
        fields.done().or_status()?;
        answered(
            self.canned_responses
                .delete(call, CannedResponseId(asked.canned_response_id))
                .await
                .or_status()?,
            respond,
        )
    }
}

fn patch(fields: &mut Fields, response: &pb::CannedResponse, paths: &[String]) -> CannedResponsePatch {
    let mut patch = CannedResponsePatch::default();
    for path in paths {
        match path.as_str() {
            "short_code" => {
                fields.required(path, &response.short_code, SHORT);
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
