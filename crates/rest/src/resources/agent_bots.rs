//! The agent bots of inboxes, and those that an account may use.

use axum::http::StatusCode;
use parley_proto as pb;
use serde_json::json;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json,
    lists::rows,
    openapi::{
        Caller, describe,
        schema::{attributes, id, list as list_of, object},
    },
    params::Params,
};

pub fn routes() -> ApiRouter {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    ApiRouter::new("Agent bots")
        .get(
            &format!("{ACCOUNT}/inboxes/{{inbox_id}}/agent_bot"),
            of_inbox,
            describe("showInboxAgentBot", "AgentBotsService.GetInboxAgentBot").returns(object().key("agent_bot", attributes())),
        )
        .post(
            &format!("{ACCOUNT}/inboxes/{{inbox_id}}/set_agent_bot"),
            set,
            describe("setInboxAgentBot", "AgentBotsService.SetInboxAgentBot")
                .caller(Caller::Administrator)
                .body("agent_bot", id().or_null()),
        )
        .get(
            &format!("{ACCOUNT}/agent_bots"),
            list,
            describe("listAgentBots", "AgentBotsService.ListAgentBots").returns(list_of(attributes())),
        )
}

async fn of_inbox(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::GetInboxAgentBotRequest {
        account_id: fields.account(),
        inbox_id: fields.path_id("inbox_id"),
    };
    let found = call.send(request).await?;
    Ok(json::ok(
        &json!({ "agent_bot": found.agent_bot.as_ref().map_or_else(|| json!({}), json::agent_bot::agent_bot) }),
    ))
}

async fn set(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    if fields.has_value("agent_bot") && fields.id("agent_bot").is_none() {
        call.authorize(fields.account()).await?;
        return Err(ApiError::error(StatusCode::NOT_FOUND, "Resource could not be found"));
    }
    let request = pb::SetInboxAgentBotRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        inbox_id: fields.path_id("inbox_id"),
        agent_bot_id: fields.id("agent_bot"),
        inactive: false,
    };
    call.send(request).await?;
    Ok(json::empty())
}

async fn list(call: Call, params: Params) -> ApiResult {
    // The operator may call the gRPC method, but not this route.
    let account_id = params.fields().account();
    call.authorize(account_id).await?;
    // Chatwoot does not paginate bots.
    let request = pb::ListAgentBotsRequest {
        account_id: Some(account_id),
        page_size: 1000,
        ..Default::default()
    };
    rows::all_rows(call, request, |rows| rows, json::agent_bot::agent_bot).await
}
