//! Implements `TeamsService`, which manages teams and their members.

use bytes::Bytes;
use parley_domain::{
    Domain,
    joined::Agent,
    people::{
        members::Edit,
        team_members::TeamMembers,
        teams::{NewTeam, TeamPatch, TeamView, Teams},
    },
};
use parley_eventlog::conversion::{FromStored as _, ToProto};
use parley_proto::{self as pb, teams_service_server::TeamsService};
use parley_types::{
    error::Result,
    id::{AccountId, TeamId, UserId},
};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    request::{caller, idempotent_call, resource_call},
    response::{resource_response, to_response},
    truncation,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum length of a team description in characters.
const TEXT: usize = 10_000;

fn seen(team: &TeamView) -> pb::Team {
    pb::Team {
        is_member: team.is_member,
        ..pb::Team::from_stored(&team.row)
    }
}

fn agents(agents: &[Agent]) -> Vec<pb::Agent> {
    truncation::agents(agents.iter().map(ToProto::to_proto))
}

fn users(fields: &mut Validator, ids: &[i64]) -> Vec<UserId> {
    fields.count("user_ids", ids.len(), 1000);
    ids.iter().copied().map(UserId).collect()
}

/// Implements `TeamsService`.
#[derive(Clone, Debug)]
pub struct TeamsApi {
    teams: Teams,
    members: TeamMembers,
}

impl TeamsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            teams: domain.teams.clone(),
            members: domain.team_members.clone(),
        }
    }
}

#[tonic::async_trait]
impl TeamsService for TeamsApi {
    async fn create_team(&self, request: Request<pb::CreateTeamRequest>) -> Result<Response<pb::CreateTeamResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.administer(account).or_status()?;
        let respond = |team: &TeamView, cursor: Bytes| pb::CreateTeamResponse {
            team: Some(seen(team)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let team = required("team", request.into_inner().team).or_status()?;
        let new = fields.within("team", |fields| {
            fields.required_name("name", &team.name, SHORT_TEXT);
            NewTeam {
                name: team.name,
                description: fields.optional("description", team.description, TEXT),
                allow_auto_assign: team.allow_auto_assign.unwrap_or(true),
            }
        });
        fields.finish().or_status()?;
        to_response(self.teams.create(call, new).await.or_status()?, respond)
    }

    async fn get_team(&self, request: Request<pb::GetTeamRequest>) -> Result<Response<pb::GetTeamResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), TeamId(req.team_id));
        let team = self.teams.get(&*caller(&request).or_status()?, account, id).await.or_status()?;
        Ok(Response::new(pb::GetTeamResponse { team: Some(seen(&team)) }))
    }

    async fn list_teams(&self, request: Request<pb::ListTeamsRequest>) -> Result<Response<pb::ListTeamsResponse>, Status> {
        let req = request.get_ref();
        let caller = caller(&request).or_status()?;
        caller.access(AccountId(req.account_id)).or_status()?;
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let found = self.teams.list(&caller, AccountId(req.account_id), &page).await.or_status()?;
        Ok(page::response(req, &found, seen))
    }

    async fn update_team(&self, request: Request<pb::UpdateTeamRequest>) -> Result<Response<pb::UpdateTeamResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |team: &TeamView, cursor: Bytes| pb::UpdateTeamResponse {
            team: Some(seen(team)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let team = required("team", req.team).or_status()?;
        self.teams
            .authorize_change(&call.caller, account, TeamId(team.id))
            .await
            .or_status()?;
        let mut patch = TeamPatch::default();
        for path in mask(&mut fields, req.update_mask) {
            fields.within("team", |fields| match path.as_str() {
                "name" => {
                    fields.required_name("name", &team.name, SHORT_TEXT);
                    patch.name = Some(team.name.clone());
                }
                "description" => patch.description = Some(fields.optional("description", team.description.clone(), TEXT)),
                "allow_auto_assign" => patch.allow_auto_assign = Some(team.allow_auto_assign.unwrap_or(true)),
                other => fields.unknown_path(other),
            });
        }
        fields.finish().or_status()?;
        to_response(self.teams.update(call, TeamId(team.id), patch).await.or_status()?, respond)
    }

    async fn delete_team(&self, request: Request<pb::DeleteTeamRequest>) -> Result<Response<pb::DeleteTeamResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        resource_response(self.teams.delete(call, TeamId(req.team_id)).await.or_status()?).or_status()
    }

    async fn list_team_members(
        &self,
        request: Request<pb::ListTeamMembersRequest>,
    ) -> Result<Response<pb::ListTeamMembersResponse>, Status> {
        let req = request.get_ref();
        let caller = caller(&request).or_status()?;
        caller.access(AccountId(req.account_id)).or_status()?;
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let (account, team) = (AccountId(req.account_id), TeamId(req.team_id));
        let found = self.members.list(&caller, account, team, &page).await.or_status()?;
        Ok(page::response(req, &found, pb::Agent::from_stored))
    }

    async fn add_team_members(&self, request: Request<pb::AddTeamMembersRequest>) -> Result<Response<pb::AddTeamMembersResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let respond = |added: &Vec<Agent>, cursor: Bytes| pb::AddTeamMembersResponse {
            added: agents(added),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        let users = users(&mut fields, &req.user_ids);
        fields.finish().or_status()?;
        let edited = self.members.edit(call, TeamId(req.team_id), Edit::Add, users);
        to_response(edited.await.or_status()?, respond)
    }

    async fn remove_team_members(
        &self,
        request: Request<pb::RemoveTeamMembersRequest>,
    ) -> Result<Response<pb::RemoveTeamMembersResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let respond = |_: &Vec<Agent>, cursor: Bytes| pb::RemoveTeamMembersResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        let users = users(&mut fields, &req.user_ids);
        fields.finish().or_status()?;
        let edited = self.members.edit(call, TeamId(req.team_id), Edit::Remove, users);
        to_response(edited.await.or_status()?, respond)
    }

    async fn set_team_members(&self, request: Request<pb::SetTeamMembersRequest>) -> Result<Response<pb::SetTeamMembersResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let respond = |members: &Vec<Agent>, cursor: Bytes| pb::SetTeamMembersResponse {
            members: agents(members),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        let users = users(&mut fields, &req.user_ids);
        fields.finish().or_status()?;
        let edited = self.members.edit(call, TeamId(req.team_id), Edit::Set, users);
        to_response(edited.await.or_status()?, respond)
    }
}
