//! Agent bots in the platform API.

use parley_proto as pb;
use prost_types::FieldMask;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{self, platform::AgentBot, values::Id},
    lists::rows,
    openapi::schema::Parameters as _,
    params::{Params, declaration::params, fields::ParamReader},
    resources::platform::{PLATFORM, filled_names, operator, platform_route, refused},
};

params! {
    struct BotParams {
        account_id: Option<Id>,
        name: Option<String>, description: Option<String>, outgoing_url: Option<String>, avatar_url: Option<String>,
    }
    struct BotChange {
        name: Option<String> as Option<String> = ParamReader::filled_text,
        description: Option<String> as Option<String> = ParamReader::filled_text,
        outgoing_url: Option<String> as Option<String> = ParamReader::filled_text,
        avatar_url: Option<String> as Option<String> = ParamReader::filled_text,
    }
}

pub fn routes() -> ApiRouter {
    let all = format!("{PLATFORM}/agent_bots");
    let one = format!("{all}/{{agent_bot_id}}");
    ApiRouter::new("Platform side")
        .get(
            &all,
            list,
            platform_route("listPlatformAgentBots", "AgentBotsService.ListAgentBots").returns::<Vec<AgentBot>>(),
        )
        .post(
            &all,
            create,
            platform_route("createPlatformAgentBot", "AgentBotsService.CreateAgentBot")
                .params::<BotParams>()
                .returns::<AgentBot>(),
        )
        .get(
            &one,
            show,
            platform_route("showPlatformAgentBot", "AgentBotsService.GetAgentBot").returns::<AgentBot>(),
        )
        .update(
            &one,
            update,
            platform_route("updatePlatformAgentBot", "AgentBotsService.UpdateAgentBot")
                .params::<BotChange>()
                .body::<Option<Id>>("account_id")
                .returns::<AgentBot>(),
        )
        .delete(
            &one,
            delete,
            platform_route("deletePlatformAgentBot", "AgentBotsService.DeleteAgentBot"),
        )
        .delete(
            &format!("{one}/avatar"),
            remove_avatar,
            platform_route("deletePlatformAgentBotAvatar", "AgentBotsService.UpdateAgentBot").returns::<AgentBot>(),
        )
}

async fn list(call: Call) -> ApiResult {
    let request = pb::ListAgentBotsRequest {
        page_size: 1000,
        ..Default::default()
    };
    rows::all_rows_or(refused, call, request, |rows| rows, |bot| AgentBot::new(bot, None)).await
}

async fn create(call: Call, params: Params) -> ApiResult {
    operator(&call).await?;
    let sent: BotParams = params.fields().parse()?;
    let request = pb::CreateAgentBotRequest {
        account_id: sent.account_id,
        request_id: call.request_id(),
        name: sent.name.unwrap_or_default(),
        description: sent.description.unwrap_or_default(),
        outgoing_url: sent.outgoing_url.unwrap_or_default(),
        avatar_url: sent.avatar_url.unwrap_or_default(),
    };
    let made = call.send(request).await;
    let bot = made.map_err(refused)?.agent_bot.unwrap_or_default();
    let request = pb::CreateTokenRequest {
        kind: pb::TokenKind::AgentBot.into(),
        name: "platform".to_owned(),
        agent_bot_id: Some(bot.id),
        ..Default::default()
    };
    let token = call.send(request).await.map_err(refused)?;
    Ok(json::ok(&AgentBot::new(bot, Some(token.secret))))
}

async fn read(call: &Call, params: &Params) -> Result<pb::AgentBot, ApiError> {
    let request = pb::GetAgentBotRequest {
        account_id: None,
        agent_bot_id: params.fields().path_id("agent_bot_id"),
    };
    let found = call.send(request).await.map_err(refused)?;
    Ok(found.agent_bot.unwrap_or_default())
}

async fn show(call: Call, params: Params) -> ApiResult {
    Ok(json::ok(&AgentBot::new(read(&call, &params).await?, None)))
}

async fn put(call: &Call, bot: pb::AgentBot, paths: Vec<String>) -> ApiResult {
    let request = pb::UpdateAgentBotRequest {
        account_id: None,
        request_id: call.request_id(),
        agent_bot: Some(bot),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.send(request).await;
    let bot = changed.map_err(refused)?.agent_bot.unwrap_or_default();
    Ok(json::ok(&AgentBot::new(bot, None)))
}

/// An update with the id only, to which the changes are added. It must not depend on the stored bot: a retry with the same idempotency key
/// has to be the same gRPC request.
fn blank(found: &pb::AgentBot) -> pb::AgentBot {
    pb::AgentBot {
        id: found.id,
        ..Default::default()
    }
}

async fn update(call: Call, params: Params) -> ApiResult {
    let found = read(&call, &params).await?;
    let mut fields = params.fields();
    let sent: BotChange = fields.parse()?;
    let bot = pb::AgentBot {
        name: sent.name.unwrap_or_default(),
        description: sent.description.unwrap_or_default(),
        outgoing_url: sent.outgoing_url.unwrap_or_default(),
        avatar_url: sent.avatar_url.unwrap_or_default(),
        ..blank(&found)
    };
    let paths = filled_names(&fields, BotChange::NAMES);
    if paths.is_empty() {
        return Ok(json::ok(&AgentBot::new(found, None)));
    }
    put(&call, bot, paths).await
}

async fn remove_avatar(call: Call, params: Params) -> ApiResult {
    let bot = blank(&read(&call, &params).await?);
    put(&call, bot, vec!["avatar_url".to_owned()]).await
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let request = pb::DeleteAgentBotRequest {
        account_id: None,
        request_id: call.request_id(),
        agent_bot_id: params.fields().path_id("agent_bot_id"),
    };
    call.send(request).await.map_err(refused)?;
    Ok(json::empty())
}
