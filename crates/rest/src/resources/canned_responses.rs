//! Canned responses.

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
        schema::{list as list_of, text},
    },
    params::{Params, fields::Fields},
};

/// The attributes of a canned response.
const ATTRIBUTES: [&str; 2] = ["short_code", "content"];

pub fn routes() -> Door {
    const LIST: &str = "/api/v1/accounts/{account_id}/canned_responses";
    const ONE: &str = "/api/v1/accounts/{account_id}/canned_responses/{id}";
    let shape = json::record::canned_response_schema;
    let settings = |about: About| about.root("canned_response").answers(shape());
    Door::new("Canned responses")
        .get(
            LIST,
            list,
            about("listCannedResponses", "CannedResponsesService.ListCannedResponses")
                .query("search", text())
                .answers(list_of(shape())),
        )
        .post(
            LIST,
            create,
            settings(about("createCannedResponse", "CannedResponsesService.CreateCannedResponse"))
                .needs("short_code", text())
                .needs("content", text()),
        )
        .update(
            ONE,
            update,
            settings(about("updateCannedResponse", "CannedResponsesService.UpdateCannedResponse")).bodies(&ATTRIBUTES, &text()),
        )
        .delete(
            ONE,
            delete,
            about("deleteCannedResponse", "CannedResponsesService.DeleteCannedResponse"),
        )
}

async fn list(call: Call, params: Params) -> Answer {
    let mut outer = params.fields();
    let account_id = outer.account();
    let query = outer.text("search").unwrap_or_default();
    call.admit(account_id, outer.verdict()).await?;
    rows::whole(
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
                    page.canned_responses.iter().map(json::record::canned_response).collect(),
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
    let mut fields = call.admit(account_id, params.root("canned_response", &ATTRIBUTES)).await?;
    let (row, _) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
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
    Ok(json::ok(&json::record::canned_response(&made.canned_response.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> Answer {
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
    Ok(json::ok(&json::record::canned_response(&found.canned_response.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.admit(account_id, params.root("canned_response", &ATTRIBUTES)).await?;
    let (mut row, paths) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
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
    Ok(json::ok(&json::record::canned_response(
        &changed.canned_response.unwrap_or_default(),
    )))
}

async fn delete(call: Call, params: Params) -> Answer {
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
fn read(fields: &mut Fields<'_>) -> (pb::CannedResponse, Vec<String>) {
    let response = pb::CannedResponse {
        short_code: fields.text("short_code").unwrap_or_default(),
        content: fields.text("content").unwrap_or_default(),
        ..Default::default()
    };
    (response, fields.sent(&ATTRIBUTES))
}
