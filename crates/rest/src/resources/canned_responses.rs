//! Canned responses.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{self, record::CannedResponse},
    lists::rows,
    openapi::{RouteDescription, describe},
    params::{Params, fields::ParamReader},
};

/// The attributes of a canned response.
const ATTRIBUTES: [&str; 2] = ["short_code", "content"];

pub fn routes() -> ApiRouter {
    const LIST: &str = "/api/v1/accounts/{account_id}/canned_responses";
    const ONE: &str = "/api/v1/accounts/{account_id}/canned_responses/{id}";
    let settings = |description: RouteDescription| description.root("canned_response").returns::<CannedResponse>();
    ApiRouter::new("Canned responses")
        .get(
            LIST,
            list,
            describe("listCannedResponses", "CannedResponsesService.ListCannedResponses")
                .query::<String>("search")
                .returns::<Vec<CannedResponse>>(),
        )
        .post(
            LIST,
            create,
            settings(describe("createCannedResponse", "CannedResponsesService.CreateCannedResponse"))
                .required_body::<String>("short_code")
                .required_body::<String>("content"),
        )
        .update(
            ONE,
            update,
            settings(describe("updateCannedResponse", "CannedResponsesService.UpdateCannedResponse")).bodies::<String>(&ATTRIBUTES),
        )
        .delete(
            ONE,
            delete,
            describe("deleteCannedResponse", "CannedResponsesService.DeleteCannedResponse"),
        )
}

async fn list(call: Call, params: Params) -> ApiResult {
    let mut outer = params.fields();
    let account_id = outer.account();
    let query = outer.text("search").unwrap_or_default();
    call.authorize_error(account_id, outer.finish()).await?;
    rows::all_pages(
        |rows| rows,
        move |page_token| {
            let request = pb::ListCannedResponsesRequest {
                account_id,
                query: query.clone(),
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.canned_responses(), call.request(request));
            async move {
                let page = client.list_canned_responses(request).await?.into_inner();
                Ok((
                    page.canned_responses.into_iter().map(CannedResponse::from).collect(),
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
        .authorize_error(account_id, params.root("canned_response", &ATTRIBUTES))
        .await?;
    let (row, _) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    let request = pb::CreateCannedResponseRequest {
        account_id,
        request_id: call.request_id(),
        canned_response: Some(row),
    };
    let made = call
        .canned_responses()
        .create_canned_response(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&CannedResponse::from(made.canned_response.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::GetCannedResponseRequest {
        account_id,
        canned_response_id: outer.path_id("id"),
    };
    let found = call
        .canned_responses()
        .get_canned_response(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&CannedResponse::from(found.canned_response.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call
        .authorize_error(account_id, params.root("canned_response", &ATTRIBUTES))
        .await?;
    let (mut row, paths) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    if paths.is_empty() {
        return show(call, params).await;
    }
    row.id = outer.path_id("id");
    let request = pb::UpdateCannedResponseRequest {
        account_id,
        request_id: call.request_id(),
        canned_response: Some(row),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call
        .canned_responses()
        .update_canned_response(call.request(request))
        .await?
        .into_inner();
    Ok(json::ok(&CannedResponse::from(changed.canned_response.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let request = pb::DeleteCannedResponseRequest {
        account_id,
        request_id: call.request_id(),
        canned_response_id: outer.path_id("id"),
    };
    call.canned_responses().delete_canned_response(call.request(request)).await?;
    Ok(json::empty())
}

/// Parses a canned response. Also returns the names of the attributes that were sent.
fn read(fields: &mut ParamReader<'_>) -> (pb::CannedResponse, Vec<String>) {
    let response = pb::CannedResponse {
        short_code: fields.text("short_code").unwrap_or_default(),
        content: fields.text("content").unwrap_or_default(),
        ..Default::default()
    };
    (response, fields.sent(&ATTRIBUTES))
}
