//! The assignee, team and participants of a conversation.

use parley_proto as pb;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::{ApiError, field_error::FieldError},
    json::{self, agent::Agent, team::TeamRecord, values::Id},
    lists::rows,
    openapi::describe,
    params::{Params, fields::ParamReader},
    resources::conversation_changes,
};

pub fn routes() -> ApiRouter {
    const ASSIGNMENTS: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/assignments";
    const PARTICIPANTS: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/participants";
    ApiRouter::new("Conversations")
        .post(
            ASSIGNMENTS,
            assign,
            describe("assignConversation", "ConversationsService.UpdateConversationAssignee")
                .body::<Option<Id>>("assignee_id")
                .body::<Option<Id>>("team_id")
                .returns::<Assignment>(),
        )
        .get(
            PARTICIPANTS,
            participants,
            describe("listParticipants", "ParticipantsService.ListParticipants").returns::<Vec<Agent>>(),
        )
        .post(
            PARTICIPANTS,
            add_participants,
            describe("addParticipants", "ParticipantsService.AddParticipants")
                .required_body::<Vec<Id>>("user_ids")
                .returns::<Vec<Agent>>(),
        )
        .update(
            PARTICIPANTS,
            set_participants,
            describe("setParticipants", "ParticipantsService.SetParticipants")
                .required_body::<Vec<Id>>("user_ids")
                .returns::<Vec<Agent>>(),
        )
        .delete(
            PARTICIPANTS,
            remove_participants,
            describe("removeParticipants", "ParticipantsService.RemoveParticipants").required_body::<Vec<Id>>("user_ids"),
        )
}

// The new assignee or team, or null.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Assignment {
    Agent(Box<Agent>),
    Team(TeamRecord),
    Nobody(()),
}

fn agents(agents: Vec<pb::Agent>) -> Vec<Agent> {
    agents.into_iter().map(Agent::from).collect()
}

/// If both parameters are present, only the assignee is changed.
async fn assign(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    if fields.is_present("assignee_id") {
        return assign_user(&call, &fields).await;
    }
    if fields.is_present("team_id") {
        return assign_team(&call, &fields).await;
    }
    conversation_changes::unchanged(&call, &fields).await?;
    Ok(json::ok(&Assignment::Nobody(())))
}

/// An id that is not a team of the account removes the team.
async fn assign_team(call: &Call, fields: &ParamReader<'_>) -> ApiResult {
    let request = pb::UpdateConversationTeamRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        team_id: fields.id("team_id"),
    };
    let none = pb::UpdateConversationTeamRequest {
        team_id: None,
        request_id: call.request_id_of("nobody"),
        ..request.clone()
    };
    let mut client = call.conversations();
    let given = match client.update_conversation_team(call.request(request)).await {
        Err(status) if is_violation_of(&status, "team_id") => client.update_conversation_team(call.request(none)).await?,
        other => other?,
    };
    let conversation = given.into_inner().conversation.unwrap_or_default();
    let team = conversation.team.map(|team| Assignment::Team(team.into()));
    Ok(json::ok(&team.unwrap_or(Assignment::Nobody(()))))
}

/// An id that is not a member of the account removes the assignee.
async fn assign_user(call: &Call, fields: &ParamReader<'_>) -> ApiResult {
    let request = pb::UpdateConversationAssigneeRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        assignee_id: fields.id("assignee_id").filter(|id| *id > 0),
    };
    let nobody = pb::UpdateConversationAssigneeRequest {
        assignee_id: None,
        request_id: call.request_id_of("nobody"),
        ..request.clone()
    };
    let mut client = call.conversations();
    let assigned = match client.update_conversation_assignee(call.request(request)).await {
        Err(status) if is_violation_of(&status, "assignee_id") => client.update_conversation_assignee(call.request(nobody)).await?,
        other => other?,
    };
    let conversation = assigned.into_inner().conversation.unwrap_or_default();
    let user = conversation.assignee.map(|agent| Assignment::Agent(Box::new(agent.into())));
    Ok(json::ok(&user.unwrap_or(Assignment::Nobody(()))))
}

/// Whether a gRPC status reports `field` as invalid.
fn is_violation_of(status: &Status, field: &str) -> bool {
    let details = status.get_error_details();
    details
        .bad_request()
        .is_some_and(|bad| bad.field_violations.iter().any(|violation| violation.field == field))
}

async fn participants(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let (account_id, conversation_id) = (fields.account(), fields.path_id("conversation_id"));
    let request = pb::ListParticipantsRequest {
        account_id,
        conversation_id,
        page_size: 1000,
        ..Default::default()
    };
    rows::all_rows(call, request, |rows| rows, Agent::from).await
}

async fn add_participants(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::AddParticipantsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        user_ids: user_ids(&call, &mut fields).await?,
    };
    let added = call.send(request).await?.added;
    Ok(json::ok(&agents(added)))
}

async fn set_participants(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::SetParticipantsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        user_ids: user_ids(&call, &mut fields).await?,
    };
    let set = call.send(request).await?;
    Ok(json::ok(&agents(set.participants)))
}

async fn remove_participants(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::RemoveParticipantsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        user_ids: user_ids(&call, &mut fields).await?,
    };
    call.send(request).await?;
    Ok(json::empty())
}

/// Parses `user_ids`, which is required but may be empty.
async fn user_ids(call: &Call, fields: &mut ParamReader<'_>) -> Result<Vec<i64>, ApiError> {
    let Some(raw) = fields.raw("user_ids") else {
        call.authorize_error(fields.account(), Err(ApiError::missing("user_ids"))).await?;
        return Ok(Vec::new());
    };
    let one = |value: &Json| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|id| *id > 0);
    let ids: Option<Vec<i64>> = match raw {
        Json::Array(values) => values.iter().map(one).collect(),
        single => one(single).map(|id| vec![id]),
    };
    if ids.is_none() {
        fields.add_error(FieldError::new("user_ids", "must be ids of users"));
    }
    call.authorize_error(fields.account(), fields.finish()).await?;
    Ok(ids.unwrap_or_default())
}
