//! Agents: the users of an account.

use parley_proto::{self as pb, Availability, Role};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{self, agent::Agent, values::Name},
    lists::rows,
    openapi::{Caller, RouteDescription, describe, schema::Parameters as _},
    params::{Params, declaration::params},
};

params! {
    struct NewAgent { role: Name<Role>, availability: Option<Name<Availability>>, auto_offline: bool, email: String, name: String }
    struct AgentChange { role: Name<Role>, availability: Option<Name<Availability>>, auto_offline: bool, name: String }
    struct NewAgents { emails: Vec<String> }
}

pub fn routes() -> ApiRouter {
    const AGENTS: &str = "/api/v1/accounts/{account_id}/agents";
    const AGENT: &str = "/api/v1/accounts/{account_id}/agents/{agent_id}";
    let settings = |description: RouteDescription| description.caller(Caller::Administrator).root("agent").returns::<Agent>();
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
                .params::<NewAgent>()
                .required(&["email", "name"]),
        )
        .post(
            &format!("{AGENTS}/bulk_create"),
            create_many,
            describe("createAgents", "AccountsService.CreateAgents")
                .caller(Caller::Administrator)
                .params::<NewAgents>()
                .required(&["emails"]),
        )
        .update(
            AGENT,
            update,
            settings(describe("updateAgent", "AccountsService.UpdateAgent")).params::<AgentChange>(),
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
    let request = pb::ListMembersRequest {
        account_id,
        ..Default::default()
    };
    rows::all_rows(call, request, |rows| rows, Agent::from).await
}

async fn create(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    let (sent, _) = call.parse_root::<NewAgent>(&params, "agent").await?;
    let request = pb::CreateAgentRequest {
        account_id,
        request_id: call.request_id(),
        email: sent.email.unwrap_or_default(),
        name: sent.name.unwrap_or_default(),
        role: sent.role.map_or(0, i32::from),
        availability: sent.availability.map_or(0, i32::from),
        auto_offline: sent.auto_offline,
    };
    let made = call.send(request).await?;
    Ok(json::ok(&Agent::from(made.agent.unwrap_or_default())))
}

async fn create_many(call: Call, params: Params) -> ApiResult {
    let sent: NewAgents = call.parse(&params).await?;
    let request = pb::CreateAgentsRequest {
        account_id: params.fields().account(),
        request_id: call.request_id(),
        emails: sent.emails.unwrap_or_default(),
    };
    call.send(request).await?;
    Ok(json::empty())
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.authorize_error(account_id, params.root("agent", NewAgent::NAMES)).await?;
    let change: AgentChange = call.authorize_error(account_id, fields.parse()).await?;
    let request = pb::UpdateAgentRequest {
        account_id,
        request_id: call.request_id(),
        user_id: outer.path_id("agent_id"),
        name: change.name,
        role: change.role.map_or(0, i32::from),
        availability: change.availability.map_or(0, i32::from),
        auto_offline: change.auto_offline,
    };
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
