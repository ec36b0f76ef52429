//! Agents: the users of an account.

use parley_proto::{self as pb, Availability, Role};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json,
    lists::rows,
    openapi::{
        Caller, RouteDescription, describe,
        schema::{flag, list as list_of, names, text},
    },
    params::{Params, fields::ParamReader},
};

/// The attributes of an agent that clients can set.
const ATTRIBUTES: [&str; 5] = ["email", "name", "role", "availability", "auto_offline"];
const ROLES: [(&str, Role); 2] = [("agent", Role::Agent), ("administrator", Role::Administrator)];
pub(crate) const AVAILABILITIES: [(&str, Availability); 3] = [
    ("online", Availability::Online),
    ("offline", Availability::Offline),
    ("busy", Availability::Busy),
];

pub fn routes() -> ApiRouter {
    const AGENTS: &str = "/api/v1/accounts/{account_id}/agents";
    const AGENT: &str = "/api/v1/accounts/{account_id}/agents/{agent_id}";
    let shape = json::agent::schema;
    let settings = |description: RouteDescription| {
        description
            .caller(Caller::Administrator)
            .root("agent")
            .body("role", names(&ROLES))
            .body("availability", names(&AVAILABILITIES).or_null())
            .body("auto_offline", flag())
            .returns(shape())
    };
    ApiRouter::new("Agents")
        .get(
            AGENTS,
            list,
            describe("listAgents", "AccountsService.ListMembers").returns(list_of(shape())),
        )
        .post(
            AGENTS,
            create,
            settings(describe("createAgent", "AccountsService.CreateAgent"))
                .required_body("email", text())
                .required_body("name", text()),
        )
        .post(
            &format!("{AGENTS}/bulk_create"),
            create_many,
            describe("createAgents", "AccountsService.CreateAgents")
                .caller(Caller::Administrator)
                .required_body("emails", list_of(text())),
        )
        .update(
            AGENT,
            update,
            settings(describe("updateAgent", "AccountsService.UpdateAgent")).body("name", text()),
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
    rows::all_rows(call, request, |rows| rows, json::agent::agent).await
}

/// Role, availability and `auto_offline`. Unspecified ones are 0 or `None`.
fn settings(fields: &mut ParamReader<'_>) -> (i32, i32, Option<bool>) {
    (
        fields.choice("role", &ROLES).map_or(0, i32::from),
        fields.choice("availability", &AVAILABILITIES).map_or(0, i32::from),
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
    Ok(json::ok(&json::agent::agent(&made.agent.unwrap_or_default())))
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
    Ok(json::ok(&json::agent::agent(&changed.agent.unwrap_or_default())))
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
