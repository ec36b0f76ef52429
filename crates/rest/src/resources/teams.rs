//! Teams and their members.

use axum::http::StatusCode;
use parley_proto as pb;
use prost_types::FieldMask;
use tonic::Status;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{self, agent::Agent, team::Team, values::Id},
    lists::rows,
    openapi::{Caller, RouteDescription, describe},
    params::{Params, fields::ParamReader},
};

/// The attributes of a team.
const ATTRIBUTES: [&str; 3] = ["name", "description", "allow_auto_assign"];
/// Chatwoot's text for users who cannot be members of a team, which it reports as 401.
const INVALID_USERS: &str = "Invalid User IDs";

pub fn routes() -> ApiRouter {
    const TEAMS: &str = "/api/v1/accounts/{account_id}/teams";
    const TEAM: &str = "/api/v1/accounts/{account_id}/teams/{team_id}";
    const MEMBERS: &str = "/api/v1/accounts/{account_id}/teams/{team_id}/team_members";
    let settings = |description: RouteDescription| {
        description
            .caller(Caller::Administrator)
            .root("team")
            .body::<Option<String>>("description")
            .body::<bool>("allow_auto_assign")
            .returns::<Team>()
    };
    let members = |description: RouteDescription| description.caller(Caller::Administrator).required_body::<Vec<Id>>("user_ids");
    ApiRouter::new("Teams")
        .get(TEAMS, list, describe("listTeams", "TeamsService.ListTeams").returns::<Vec<Team>>())
        .post(
            TEAMS,
            create,
            settings(describe("createTeam", "TeamsService.CreateTeam")).required_body::<String>("name"),
        )
        .get(TEAM, show, describe("showTeam", "TeamsService.GetTeam").returns::<Team>())
        .update(
            TEAM,
            update,
            settings(describe("updateTeam", "TeamsService.UpdateTeam")).body::<String>("name"),
        )
        .delete(
            TEAM,
            delete,
            describe("deleteTeam", "TeamsService.DeleteTeam").caller(Caller::Administrator),
        )
        .get(
            MEMBERS,
            list_members,
            describe("listTeamMembers", "TeamsService.ListTeamMembers").returns::<Vec<Agent>>(),
        )
        .post(
            MEMBERS,
            add_members,
            members(describe("addTeamMembers", "TeamsService.AddTeamMembers")).returns::<Vec<Agent>>(),
        )
        .update(
            MEMBERS,
            set_members,
            members(describe("setTeamMembers", "TeamsService.SetTeamMembers")).returns::<Vec<Agent>>(),
        )
        .delete(
            MEMBERS,
            remove_members,
            members(describe("removeTeamMembers", "TeamsService.RemoveTeamMembers")),
        )
}

async fn list(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    rows::all_pages(
        |rows| rows,
        move |page_token| {
            let request = pb::ListTeamsRequest {
                account_id,
                page_token,
                ..Default::default()
            };
            let page = call.send(request);
            async move {
                let page = page.await?;
                Ok((page.teams.into_iter().map(Team::from).collect(), page.next_page_token))
            }
        },
    )
    .await
}

async fn create(call: Call, params: Params) -> ApiResult {
    let account_id = params.fields().account();
    let mut fields = call.authorize_error(account_id, params.root("team", &ATTRIBUTES)).await?;
    let (team, _) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    let request = pb::CreateTeamRequest {
        account_id,
        request_id: call.request_id(),
        team: Some(team),
    };
    let made = call.send(request).await?;
    Ok(json::ok(&Team::from(made.team.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::GetTeamRequest {
        account_id: fields.account(),
        team_id: fields.path_id("team_id"),
    };
    let found = call.send(request).await?;
    Ok(json::ok(&Team::from(found.team.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.authorize_error(account_id, params.root("team", &ATTRIBUTES)).await?;
    let (mut team, paths) = read(&mut fields);
    call.authorize_error(account_id, fields.finish()).await?;
    if paths.is_empty() {
        return show(call, params).await;
    }
    team.id = outer.path_id("team_id");
    let request = pb::UpdateTeamRequest {
        account_id,
        request_id: call.request_id(),
        team: Some(team),
        update_mask: Some(FieldMask { paths }),
    };
    let changed = call.send(request).await?;
    Ok(json::ok(&Team::from(changed.team.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::DeleteTeamRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
    };
    call.send(request).await?;
    Ok(json::empty())
}

/// Parses a team. Also returns the names of the attributes that were sent.
fn read(fields: &mut ParamReader<'_>) -> (pb::Team, Vec<String>) {
    let team = pb::Team {
        name: fields.text("name").unwrap_or_default(),
        description: fields.text("description"),
        allow_auto_assign: fields.flag("allow_auto_assign"),
        ..Default::default()
    };
    (team, fields.sent(&ATTRIBUTES))
}

async fn list_members(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let (account_id, team_id) = (fields.account(), fields.path_id("team_id"));
    rows::all_pages(
        |rows| rows,
        move |page_token| {
            let request = pb::ListTeamMembersRequest {
                account_id,
                team_id,
                page_token,
                ..Default::default()
            };
            let page = call.send(request);
            async move {
                let page = page.await?;
                Ok((page.members.into_iter().map(Agent::from).collect(), page.next_page_token))
            }
        },
    )
    .await
}

fn agents_response(agents: Vec<pb::Agent>) -> axum::response::Response {
    json::ok(&agents.into_iter().map(Agent::from).collect::<Vec<_>>())
}

/// Reports users who cannot be members of the team as 401.
fn refused(status: Status) -> ApiError {
    match ApiError::from(status) {
        failure if failure.is_invalid() => ApiError::error(StatusCode::UNAUTHORIZED, INVALID_USERS),
        failure => failure,
    }
}

async fn add_members(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::AddTeamMembersRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
        user_ids: call.authorize_error(fields.account(), fields.users()).await?,
    };
    let added = call.send(request).await.map_err(refused)?;
    Ok(agents_response(added.added))
}

async fn set_members(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::SetTeamMembersRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
        user_ids: call.authorize_error(fields.account(), fields.users()).await?,
    };
    let set = call.send(request).await.map_err(refused)?;
    Ok(agents_response(set.members))
}

async fn remove_members(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let request = pb::RemoveTeamMembersRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
        user_ids: call.authorize_error(fields.account(), fields.users()).await?,
    };
    call.send(request).await.map_err(refused)?;
    Ok(json::empty())
}
