//! Agents: the users of an account.

use parley_proto::{self as pb, Availability, Role};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{self, agent::Agent, values::Name},
    lists::rows,
    openapi::{Caller, RouteDescription, describe},
    params::{Params, fields::ParamReader},
};

/// The attributes of an agent that clients can set.
const ATTRIBUTES: [&str; 5] = ["email", "name", "role", "availability", "auto_offline"];

pub fn routes() -> ApiRouter {
    const AGENTS: &str = "/api/v1/accounts/{account_id}/agents";
    const AGENT: &str = "/api/v1/accounts/{account_id}/agents/{agent_id}";
    let settings = |description: RouteDescription| {
        description
            .caller(Caller::Administrator)
            .root("agent")
            .body::<Name<Role>>("role")
            .body::<Option<Name<Availability>>>("availability")
            .body::<bool>("auto_offline")
            .returns::<Agent>()
    };
    ApiRouter::new("Agents")
        .get(
            AGENTS,
            list,
            describe("listAgents", "AccountsService.ListMembers").returns::<Vec<Agent>>(),
        )
        .post(
            AGENTS,
            create,
            settings(describe("createAgent", "AccountsService.CreateAgent"))
                .required_body::<String>("email")
                .required_body::<String>("name"),
        )
        .post(
            &format!("{AGENTS}/bulk_create"),
            create_many,
            describe("createAgents", "AccountsService.CreateAgents")
                .caller(Caller::Administrator)
                .required_body::<Vec<String>>("emails"),
        )
        .update(
            AGENT,
            update,
            settings(describe("updateAgent", "AccountsService.UpdateAgent")).body::<String>("name"),
        )
        .delete(
            AGENT,
            delete,
            describe("deleteAgent", "AccountsService.DeleteMembership").caller(Caller::Administrator),
        )
}

async fn list(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    // The operator may call the gRPC methods for listing and deleting, but not these routes.
    call.authorize(account_id).await?;
    rows::all_pages(
        |rows| rows,
        move |page_token| {
            let request = pb::ListMembersRequest {
                account_id,
                page_token,
                ..Default::default()
            };
            let page = call.send(request);
            async move {
                let page = page.await?;
                Ok((page.agents.into_iter().map(Agent::from).collect(), page.next_page_token))
            }
        },
    )
    .await
}

/// Role, availability and `auto_offline`. Unspecified ones are 0 or `None`.
fn settings(fields: &mut ParamReader<'_>) -> (i32, i32, Option<bool>) {
    (
        fields.choice::<Role>("role").map_or(0, i32::from),
        fields.choice::<Availability>("availability").map_or(0, i32::from),
        fields.flag("auto_offline"),
    )
}

async fn create(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    let mut fields = call.authorize_error(account_id, params.root("agent", &ATTRIBUTES)).await?;
    let (role, availability, auto_offline) = settings(&mut fields);
    let request = pb::CreateAgentRequest {
        account_id,
        request_id: call.request_id(),
        email: fields.text("email").unwrap_or_default(),
        name: fields.text("name").unwrap_or_default(),
        role,
        availability,
        auto_offline,
    };
    call.authorize_error(account_id, fields.finish()).await?;
    let made = call.send(request).await?;
    Ok(json::ok(&Agent::from(made.agent.unwrap_or_default())))
}

async fn create_many(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::CreateAgentsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        emails: fields.texts("emails").unwrap_or_default(),
    };
    call.authorize_error(request.account_id, fields.finish()).await?;
    call.send(request).await?;
    Ok(json::empty())
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.authorize_error(account_id, params.root("agent", &ATTRIBUTES)).await?;
    let (role, availability, auto_offline) = settings(&mut fields);
    let request = pb::UpdateAgentRequest {
        account_id,
        request_id: call.request_id(),
        user_id: outer.path_id("agent_id"),
        name: fields.text("name"),
        role,
        availability,
        auto_offline,
    };
    call.authorize_error(account_id, fields.finish()).await?;
    let changed = call.send(request).await?;
    Ok(json::ok(&Agent::from(changed.agent.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::DeleteMembershipRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        user_id: fields.path_id("agent_id"),
    };
    call.authorize(request.account_id).await?;
    call.send(request).await?;
    Ok(json::empty())
}
