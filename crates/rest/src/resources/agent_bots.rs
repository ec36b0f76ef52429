//! The agent bots of inboxes, and those that an account may use.

use axum::http::StatusCode;
use parley_proto as pb;
use serde_json::json;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    lists::rows,
    openapi::{
        Caller, about,
        schema::{attributes, id, list as list_of, object},
    },
    params::Params,
};

pub fn routes() -> Door {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    Door::new("Agent bots")
        .get(
            &format!("{ACCOUNT}/inboxes/{{inbox_id}}/agent_bot"),
            of_inbox,
            about("showInboxAgentBot", "AgentBotsService.GetInboxAgentBot").answers(object().key("agent_bot", attributes())),
        )
        .post(
            &format!("{ACCOUNT}/inboxes/{{inbox_id}}/set_agent_bot"),
            set,
            about("setInboxAgentBot", "AgentBotsService.SetInboxAgentBot")
                .caller(Caller::Administrator)
                .body("agent_bot", id().or_null()),
        )
        .get(
            &format!("{ACCOUNT}/agent_bots"),
            list,
            about("listAgentBots", "AgentBotsService.ListAgentBots").answers(list_of(attributes())),
        )
}

async fn of_inbox(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::GetInboxAgentBotRequest {
        account_id: fields.account(),
        inbox_id: fields.path_id("inbox_id"),
    };
    let found = call.agent_bots().get_inbox_agent_bot(call.request(request)).await?.into_inner();
    Ok(json::ok(
        &json!({ "agent_bot": found.agent_bot.as_ref().map_or_else(|| json!({}), json::agent_bot::agent_bot) }),
    ))
}

async fn set(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    if fields.filled("agent_bot") && fields.id("agent_bot").is_none() {
        call.enter(fields.account()).await?;
        return Err(Failure::error(StatusCode::NOT_FOUND, "Resource could not be found"));
    }
    let request = pb::SetInboxAgentBotRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        inbox_id: fields.path_id("inbox_id"),
        agent_bot_id: fields.id("agent_bot"),
        inactive: false,
    };
    call.agent_bots().set_inbox_agent_bot(call.request(request)).await?;
    Ok(json::empty())
}

async fn list(call: Call, params: Params) -> Answer {
    // The operator may call the gRPC method, but not this route.
    let account_id = params.fields().account();
    call.enter(account_id).await?;
    // Chatwoot does not paginate bots.
    rows::whole(
        |rows| rows,
        move |page_token| {
            let request = pb::ListAgentBotsRequest {
                account_id: Some(account_id),
                page_size: 1000,
                page_token,
            };
            let (mut client, request) = (call.agent_bots(), call.request(request));
            async move {
                let page = client.list_agent_bots(request).await?.into_inner();
                Ok((
                    page.agent_bots.iter().map(json::agent_bot::agent_bot).collect(),
                    page.next_page_token,
                ))
            }
        },
    )
    .await
}
