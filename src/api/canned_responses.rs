//! `CannedResponsesService`.

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::{
    Api,
    accounts::mask,
    answered, caller, change,
    fields::{Fields, SHORT},
    page, required,
};
use crate::events::conversion::{FromStored as _, ToProto as _};
use crate::{
    chat::canned_responses::CannedResponsePatch,
    chat::record::canned_response,
    error::Result,
    id::{AccountId, CannedResponseId},
    pb::{self, canned_responses_service_server::CannedResponsesService},
};

/// Characters in a text.
const TEXT: usize = 20_000;

#[tonic::async_trait]
impl CannedResponsesService for Api {
    async fn create_canned_response(
        &self,
        request: Request<pb::CreateCannedResponseRequest>,
    ) -> Result<Response<pb::CreateCannedResponseResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request)?.write_access(account)?;
        let respond = |row: &canned_response::Model, cursor: Bytes| pb::CreateCannedResponseResponse {
            canned_response: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond)?;
        let asked = request.into_inner();
        let canned_response = required("canned_response", asked.canned_response)?;
        fields.within("canned_response", |fields| {
            fields.required("short_code", &canned_response.short_code, SHORT);
            fields.required("content", &canned_response.content, TEXT);
        });
        fields.done()?;
        let pb::CannedResponse { short_code, content, .. } = canned_response;
        answered(self.chat.create_canned_response(call, short_code, content).await?, respond)
    }

    async fn get_canned_response(
        &self,
        request: Request<pb::GetCannedResponseRequest>,
    ) -> Result<Response<pb::GetCannedResponseResponse>, Status> {
        let asked = request.get_ref();
        let (account, id) = (AccountId(asked.account_id), CannedResponseId(asked.canned_response_id));
        let row = self.chat.canned_response(&*caller(&request)?, account, id).await?;
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
        let (caller, account) = (caller(&request)?, AccountId(asked.account_id));
        caller.access(account)?;
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 1000), &asked.page_token, 0);
        fields.text("query", &asked.query, SHORT);
        fields.done()?;
        let found = self.chat.canned_responses(&caller, account, &asked.query, &page).await?;
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
        caller(&request)?.write_access(account)?;
        let respond = |row: &canned_response::Model, cursor: Bytes| pb::UpdateCannedResponseResponse {
            canned_response: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond)?;
        let asked = request.into_inner();
        let canned_response = required("canned_response", asked.canned_response)?;
        let paths = mask(&mut fields, asked.update_mask);
        let patch = fields.within("canned_response", |fields| patch(fields, &canned_response, &paths));
        fields.done()?;
        answered(
            self.chat
                .update_canned_response(call, CannedResponseId(canned_response.id), patch)
                .await?,
            respond,
        )
    }

    async fn delete_canned_response(
        &self,
        request: Request<pb::DeleteCannedResponseRequest>,
    ) -> Result<Response<pb::DeleteCannedResponseResponse>, Status> {
        let asked = request.get_ref();
        caller(&request)?.write_access(AccountId(asked.account_id))?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteCannedResponseResponse { cursor };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, AccountId(asked.account_id), respond)?;
        fields.done()?;
        answered(
            self.chat
                .delete_canned_response(call, CannedResponseId(asked.canned_response_id))
                .await?,
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
