//! Agents: the users of an account.

use parley_proto::{self as pb, Availability, Role};

use crate::{
    Answer,
    call::Call,
    door::Door,
    json,
    lists::rows,
    openapi::{
        About, Caller, about,
        schema::{flag, list as list_of, names, text},
    },
    params::{Params, fields::Fields},
};

/// The attributes of an agent that clients can set.
const ATTRIBUTES: [&str; 5] = ["email", "name", "role", "availability", "auto_offline"];
const ROLES: [(&str, Role); 2] = [("agent", Role::Agent), ("administrator", Role::Administrator)];
pub(crate) const AVAILABILITIES: [(&str, Availability); 3] = [
    ("online", Availability::Online),
    ("offline", Availability::Offline),
    ("busy", Availability::Busy),
];

pub fn routes() -> Door {
    const AGENTS: &str = "/api/v1/accounts/{account_id}/agents";
    const AGENT: &str = "/api/v1/accounts/{account_id}/agents/{agent_id}";
    let shape = json::agent::schema;
    let settings = |about: About| {
        about
            .caller(Caller::Administrator)
            .root("agent")
            .body("role", names(&ROLES))
            .body("availability", names(&AVAILABILITIES).or_null())
            .body("auto_offline", flag())
            .answers(shape())
    };
    Door::new("Agents")
        .get(
            AGENTS,
            list,
            about("listAgents", "AccountsService.ListMembers").answers(list_of(shape())),
        )
        .post(
            AGENTS,
            create,
            settings(about("createAgent", "AccountsService.CreateAgent"))
                .needs("email", text())
                .needs("name", text()),
        )
        .post(
            &format!("{AGENTS}/bulk_create"),
            create_many,
            about("createAgents", "AccountsService.CreateAgents")
                .caller(Caller::Administrator)
                .needs("emails", list_of(text())),
        )
        .update(
            AGENT,
            update,
            settings(about("updateAgent", "AccountsService.UpdateAgent")).body("name", text()),
        )
        .delete(
            AGENT,
            delete,
            about("deleteAgent", "AccountsService.DeleteMembership").caller(Caller::Administrator),
        )
}

async fn list(call: Call, params: Params) -> Answer {
    let account_id = params.fields().account();
    // The operator may call the gRPC methods for listing and deleting, but not these routes.
    call.enter(account_id).await?;
    rows::whole(
        |rows| rows,
        move |page_token| {
            let request = pb::ListMembersRequest {
                account_id,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.accounts(), call.request(request));
            async move {
                let page = client.list_members(request).await?.into_inner();
                Ok((page.agents.iter().map(json::agent::agent).collect(), page.next_page_token))
            }
        },
    )
    .await
}

/// Role, availability and `auto_offline`. Unspecified ones are 0 or `None`.
fn settings(fields: &mut Fields<'_>) -> (i32, i32, Option<bool>) {
    (
        fields.choice("role", &ROLES).map_or(0, i32::from),
        fields.choice("availability", &AVAILABILITIES).map_or(0, i32::from),
        fields.flag("auto_offline"),
    )
}

async fn create(call: Call, params: Params) -> Answer {
    let account_id = params.fields().account();
    let mut fields = call.admit(account_id, params.root("agent", &ATTRIBUTES)).await?;
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
    call.admit(account_id, fields.verdict()).await?;
    let made = call.accounts().create_agent(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::agent::agent(&made.agent.unwrap_or_default())))
}

async fn create_many(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::CreateAgentsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        emails: fields.texts("emails").unwrap_or_default(),
    };
    call.admit(request.account_id, fields.verdict()).await?;
    call.accounts().create_agents(call.request(request)).await?;
    Ok(json::empty())
}

async fn update(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.admit(account_id, params.root("agent", &ATTRIBUTES)).await?;
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
    call.admit(account_id, fields.verdict()).await?;
    let changed = call.accounts().update_agent(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::agent::agent(&changed.agent.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::DeleteMembershipRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        user_id: fields.path_id("agent_id"),
    };
    call.enter(request.account_id).await?;
    call.accounts().delete_membership(call.request(request)).await?;
    Ok(json::empty())
}
