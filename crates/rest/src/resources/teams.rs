//! Teams and their members.

use axum::http::StatusCode;
use parley_proto as pb;
use prost_types::FieldMask;
use serde_json::json;
use tonic::Status;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    lists::rows,
    openapi::{
        About, Caller, about,
        schema::{flag, id, list as list_of, text},
    },
    params::{Params, fields::Fields},
};

/// The attributes of a team.
const ATTRIBUTES: [&str; 3] = ["name", "description", "allow_auto_assign"];
/// Chatwoot's text for users who cannot be members of a team, which it reports as 401.
const INVALID_USERS: &str = "Invalid User IDs";

pub fn routes() -> Door {
    const TEAMS: &str = "/api/v1/accounts/{account_id}/teams";
    const TEAM: &str = "/api/v1/accounts/{account_id}/teams/{team_id}";
    const MEMBERS: &str = "/api/v1/accounts/{account_id}/teams/{team_id}/team_members";
    let shape = json::team::schema;
    let agents = || list_of(json::agent::schema());
    let settings = |about: About| {
        about
            .caller(Caller::Administrator)
            .root("team")
            .body("description", text().or_null())
            .body("allow_auto_assign", flag())
            .answers(shape())
    };
    let members = |about: About| about.caller(Caller::Administrator).needs("user_ids", list_of(id()));
    Door::new("Teams")
        .get(TEAMS, list, about("listTeams", "TeamsService.ListTeams").answers(list_of(shape())))
        .post(
            TEAMS,
            create,
            settings(about("createTeam", "TeamsService.CreateTeam")).needs("name", text()),
        )
        .get(TEAM, show, about("showTeam", "TeamsService.GetTeam").answers(shape()))
        .update(
            TEAM,
            update,
            settings(about("updateTeam", "TeamsService.UpdateTeam")).body("name", text()),
        )
        .delete(
            TEAM,
            delete,
            about("deleteTeam", "TeamsService.DeleteTeam").caller(Caller::Administrator),
        )
        .get(
            MEMBERS,
            list_members,
            about("listTeamMembers", "TeamsService.ListTeamMembers").answers(agents()),
        )
        .post(
            MEMBERS,
            add_members,
            members(about("addTeamMembers", "TeamsService.AddTeamMembers")).answers(agents()),
        )
        .update(
            MEMBERS,
            set_members,
            members(about("setTeamMembers", "TeamsService.SetTeamMembers")).answers(agents()),
        )
        .delete(
            MEMBERS,
            remove_members,
            members(about("removeTeamMembers", "TeamsService.RemoveTeamMembers")),
        )
}

async fn list(call: Call, params: Params) -> Answer {
    let account_id = params.fields().account();
    rows::whole(
        |rows| rows,
        move |page_token| {
            let request = pb::ListTeamsRequest {
                account_id,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.teams(), call.request(request));
            async move {
                let page = client.list_teams(request).await?.into_inner();
                Ok((page.teams.iter().map(json::team::team).collect(), page.next_page_token))
            }
        },
    )
    .await
}

async fn create(call: Call, params: Params) -> Answer {
    let account_id = params.fields().account();
    let mut fields = call.admit(account_id, params.root("team", &ATTRIBUTES)).await?;
    let (team, _) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
    let request = pb::CreateTeamRequest {
        account_id,
        request_id: call.request_id(),
        team: Some(team),
    };
    let made = call.teams().create_team(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::team::team(&made.team.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::GetTeamRequest {
        account_id: fields.account(),
        team_id: fields.path_id("team_id"),
    };
    let found = call.teams().get_team(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::team::team(&found.team.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> Answer {
    let outer = params.fields();
    let account_id = outer.account();
    let mut fields = call.admit(account_id, params.root("team", &ATTRIBUTES)).await?;
    let (mut team, paths) = read(&mut fields);
    call.admit(account_id, fields.verdict()).await?;
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
    let changed = call.teams().update_team(call.request(request)).await?.into_inner();
    Ok(json::ok(&json::team::team(&changed.team.unwrap_or_default())))
}

async fn delete(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::DeleteTeamRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
    };
    call.teams().delete_team(call.request(request)).await?;
    Ok(json::empty())
}

/// Parses a team. Also returns the names of the attributes that were sent.
fn read(fields: &mut Fields<'_>) -> (pb::Team, Vec<String>) {
    let team = pb::Team {
        name: fields.text("name").unwrap_or_default(),
        description: fields.text("description"),
        allow_auto_assign: fields.flag("allow_auto_assign"),
        ..Default::default()
    };
    (team, fields.sent(&ATTRIBUTES))
}

async fn list_members(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let (account_id, team_id) = (fields.account(), fields.path_id("team_id"));
    rows::whole(
        |rows| rows,
        move |page_token| {
            let request = pb::ListTeamMembersRequest {
                account_id,
                team_id,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.teams(), call.request(request));
            async move {
                let page = client.list_team_members(request).await?.into_inner();
                Ok((page.members.iter().map(json::agent::agent).collect(), page.next_page_token))
            }
        },
    )
    .await
}

fn shown(agents: &[pb::Agent]) -> axum::response::Response {
    let agents: Vec<_> = agents.iter().map(json::agent::agent).collect();
    json::ok(&json!(agents))
}

/// Reports users who cannot be members of the team as 401.
fn refused(status: Status) -> Failure {
    match Failure::from(status) {
        failure if failure.is_invalid() => Failure::error(StatusCode::UNAUTHORIZED, INVALID_USERS),
        failure => failure,
    }
}

async fn add_members(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::AddTeamMembersRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
        user_ids: call.admit(fields.account(), fields.users()).await?,
    };
    let added = call.teams().add_team_members(call.request(request)).await.map_err(refused)?;
    Ok(shown(&added.into_inner().added))
}

async fn set_members(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::SetTeamMembersRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
        user_ids: call.admit(fields.account(), fields.users()).await?,
    };
    let set = call.teams().set_team_members(call.request(request)).await.map_err(refused)?;
    Ok(shown(&set.into_inner().members))
}

async fn remove_members(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let request = pb::RemoveTeamMembersRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        team_id: fields.path_id("team_id"),
        user_ids: call.admit(fields.account(), fields.users()).await?,
    };
    call.teams().remove_team_members(call.request(request)).await.map_err(refused)?;
    Ok(json::empty())
}
