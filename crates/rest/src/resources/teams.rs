//! Teams and their members.

use axum::http::StatusCode;
use parley_proto as pb;
use tonic::Status;

use super::records::{JsonRecord, RecordRoutes};
use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{self, agent::Agent, team::Team, values::Id},
    lists::rows::{self, Rows},
    openapi::{Caller, RouteDescription, describe},
    params::{Params, declaration::params},
};

params! {
    pub struct TeamParams { name: String, description: Option<String>, allow_auto_assign: bool }
}

impl JsonRecord for pb::Team {
    type Json = Team;
    type Rows = Rows<Team>;
    type Params = TeamParams;
    const ID: &'static str = "team_id";

    fn from_params(params: TeamParams) -> Self {
        Self {
            name: params.name.unwrap_or_default(),
            description: params.description,
            allow_auto_assign: params.allow_auto_assign,
            ..Self::default()
        }
    }

    fn frame(rows: Rows<Team>) -> Self::Rows {
        rows
    }
}

/// Chatwoot's error message for users who cannot be members of a team. Chatwoot reports this error as 401.
const INVALID_USERS: &str = "Invalid User IDs";

pub fn routes() -> ApiRouter {
    const TEAMS: &str = "/api/v1/accounts/{account_id}/teams";
    const MEMBERS: &str = "/api/v1/accounts/{account_id}/teams/{team_id}/team_members";
    let members = |description: RouteDescription| description.caller(Caller::Administrator).required_body::<Vec<Id>>("user_ids");
    RecordRoutes::<pb::Team>::new("Teams", TEAMS)
        .list("listTeams", |route| route)
        .create("createTeam", |route| route.caller(Caller::Administrator).required(&["name"]))
        .show("showTeam", |route| route)
        .update("updateTeam", |route| route.caller(Caller::Administrator).listed_last(&["name"]))
        .delete("deleteTeam", |route| route.caller(Caller::Administrator))
        .into_router()
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

async fn list_members(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let (account_id, team_id) = (fields.account(), fields.path_id("team_id"));
    let request = pb::ListTeamMembersRequest {
        account_id,
        team_id,
        ..Default::default()
    };
    rows::all_rows(call, request, |rows| rows, Agent::from).await
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
