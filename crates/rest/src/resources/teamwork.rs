//! The assignee, team and participants of a conversation.

use parley_proto as pb;
use serde_json::{Value as Json, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::{Failure, sentence::Complaint},
    json::{self, agent::agent},
    lists::rows,
    openapi::{
        about,
        schema::{either, id, list, null},
    },
    params::{Params, fields::Fields},
    resources::conversation_changes,
};

pub fn routes() -> Door {
    const ASSIGNMENTS: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/assignments";
    const PARTICIPANTS: &str = "/api/v1/accounts/{account_id}/conversations/{conversation_id}/participants";
    let agents = || list(json::agent::schema());
    Door::new("Conversations")
        .post(
            ASSIGNMENTS,
            assign,
            about("assignConversation", "ConversationsService.UpdateConversationAssignee")
                .body("assignee_id", id().or_null())
                .body("team_id", id().or_null())
                .answers(either([json::agent::schema(), json::team::raw_schema(), null()])),
        )
        .get(
            PARTICIPANTS,
            participants,
            about("listParticipants", "ParticipantsService.ListParticipants").answers(agents()),
        )
        .post(
            PARTICIPANTS,
            add_participants,
            about("addParticipants", "ParticipantsService.AddParticipants")
                .needs("user_ids", list(id()))
                .answers(agents()),
        )
        .update(
            PARTICIPANTS,
            set_participants,
            about("setParticipants", "ParticipantsService.SetParticipants")
                .needs("user_ids", list(id()))
                .answers(agents()),
        )
        .delete(
            PARTICIPANTS,
            remove_participants,
            about("removeParticipants", "ParticipantsService.RemoveParticipants").needs("user_ids", list(id())),
        )
}

/// If both parameters are present, only the assignee is changed.
async fn assign(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    if fields.given("assignee_id") {
        return assign_user(&call, &fields).await;
    }
    if fields.given("team_id") {
        return assign_team(&call, &fields).await;
    }
    conversation_changes::unchanged(&call, &fields).await?;
    Ok(json::ok(&Json::Null))
}

/// An id that is not a team of the account removes the team.
async fn assign_team(call: &Call, fields: &Fields<'_>) -> Answer {
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
        Err(status) if refuses(&status, "team_id") => client.update_conversation_team(call.request(none)).await?,
        other => other?,
    };
    let conversation = given.into_inner().conversation.unwrap_or_default();
    Ok(json::ok(&conversation.team.as_ref().map_or(Json::Null, json::team::raw)))
}

/// An id that is not a member of the account removes the assignee.
async fn assign_user(call: &Call, fields: &Fields<'_>) -> Answer {
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
        Err(status) if refuses(&status, "assignee_id") => client.update_conversation_assignee(call.request(nobody)).await?,
        other => other?,
    };
    let conversation = assigned.into_inner().conversation.unwrap_or_default();
    Ok(json::ok(&conversation.assignee.as_ref().map_or(Json::Null, agent)))
}

/// Whether an error reports this field as invalid.
fn refuses(status: &Status, field: &str) -> bool {
    let details = status.get_error_details();
    details
        .bad_request()
        .is_some_and(|bad| bad.field_violations.iter().any(|violation| violation.field == field))
}

async fn participants(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let (account_id, conversation_id) = (fields.account(), fields.path_id("conversation_id"));
    rows::whole(
        |rows| rows,
        move |page_token| {
            let request = pb::ListParticipantsRequest {
                account_id,
                conversation_id,
                page_size: 1000,
                page_token,
            };
            let (mut client, request) = (call.participants(), call.request(request));
            async move {
                let page = client.list_participants(request).await?.into_inner();
                Ok((page.participants.iter().map(agent).collect(), page.next_page_token))
            }
        },
    )
    .await
}

async fn add_participants(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::AddParticipantsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        user_ids: user_ids(&call, &mut fields).await?,
    };
    let added = call
        .participants()
        .add_participants(call.request(request))
        .await?
        .into_inner()
        .added;
    Ok(json::ok(&json!(added.iter().map(agent).collect::<Vec<_>>())))
}

async fn set_participants(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::SetParticipantsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        user_ids: user_ids(&call, &mut fields).await?,
    };
    let set = call.participants().set_participants(call.request(request)).await?.into_inner();
    Ok(json::ok(&json!(set.participants.iter().map(agent).collect::<Vec<_>>())))
}

async fn remove_participants(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::RemoveParticipantsRequest {
        account_id: fields.account(),
        request_id: call.request_id(),
        conversation_id: fields.path_id("conversation_id"),
        user_ids: user_ids(&call, &mut fields).await?,
    };
    call.participants().remove_participants(call.request(request)).await?;
    Ok(json::empty())
}

/// Parses `user_ids`, which is required but may be empty.
async fn user_ids(call: &Call, fields: &mut Fields<'_>) -> Result<Vec<i64>, Failure> {
    let Some(raw) = fields.raw("user_ids") else {
        call.admit(fields.account(), Err(Failure::missing("user_ids"))).await?;
        return Ok(Vec::new());
    };
    let one = |value: &Json| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|id| *id > 0);
    let ids: Option<Vec<i64>> = match raw {
        Json::Array(values) => values.iter().map(one).collect(),
        single => one(single).map(|id| vec![id]),
    };
    if ids.is_none() {
        fields.complain(Complaint::new("user_ids", "must be ids of users"));
    }
    call.admit(fields.account(), fields.verdict()).await?;
    Ok(ids.unwrap_or_default())
}
