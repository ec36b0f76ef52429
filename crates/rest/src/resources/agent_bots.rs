//! The agent bots of inboxes, and those that an account may use.

use parley_proto as pb;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{
        self,
        agent_bot::AccountAgentBot,
        values::{Empty, Id, OneOf},
    },
    lists::rows,
    openapi::{Caller, describe},
    params::{Params, attributes::Attributes, declaration::params},
};

params! {
    struct BotParams { agent_bot: Option<Id> }
}

pub fn routes() -> ApiRouter {
    const ACCOUNT: &str = "/api/v1/accounts/{account_id}";
    ApiRouter::new("Agent bots")
        .get(
            &format!("{ACCOUNT}/inboxes/{{inbox_id}}/agent_bot"),
            of_inbox,
            describe("showInboxAgentBot", "AgentBotsService.GetInboxAgentBot").returns::<InboxAgentBot>(),
        )
        .post(
            &format!("{ACCOUNT}/inboxes/{{inbox_id}}/set_agent_bot"),
            set,
            describe("setInboxAgentBot", "AgentBotsService.SetInboxAgentBot")
                .caller(Caller::Administrator)
                .params::<BotParams>(),
        )
        .get(
            &format!("{ACCOUNT}/agent_bots"),
            list,
            describe("listAgentBots", "AgentBotsService.ListAgentBots").returns::<Vec<Attributes>>(),
        )
}

// The bot of an inbox, or an empty object.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct InboxAgentBot {
    #[schemars(with = "Attributes")]
    agent_bot: OneOf<AccountAgentBot, Empty>,
}

async fn of_inbox(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::GetInboxAgentBotRequest {
        account_id: fields.account(),
        inbox_id: fields.path_id("inbox_id"),
    };
    let found = call.send(request).await?;
    Ok(json::ok(&InboxAgentBot {
        agent_bot: found.agent_bot.map_or(OneOf::Second(Empty {}), |bot| OneOf::First(bot.into())),
    }))
}

async fn set(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::SetInboxAgentBotRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        inbox_id: fields.path_id("inbox_id"),
        agent_bot_id: fields.read::<BotParams>().agent_bot,
        inactive: false,
    };
    call.send(request).await?;
    Ok(json::empty())
}

async fn list(call: Call, params: Params) -> ApiResult {
    // The operator may call the gRPC method, but not this route.
    let account_id = params.fields().account();
    call.authorize(account_id).await?;
    // Chatwoot does not paginate the list of bots.
    let request = pb::ListAgentBotsRequest {
        account_id: Some(account_id),
        page_size: 1000,
        ..Default::default()
    };
    rows::all_rows(call, request, |rows| rows, AccountAgentBot::from).await
}
