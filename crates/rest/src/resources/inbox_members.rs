//! The members of an inbox, and the agents that conversations can be assigned to.

use parley_proto as pb;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        agent::Agent,
        values::{Id, Payload},
    },
    lists::rows,
    openapi::{Caller, RouteDescription, describe},
    params::{Params, fields::ParamReader},
};

pub fn routes() -> ApiRouter {
    const MEMBERS: &str = "/api/v1/accounts/{account_id}/inbox_members";
    let change = |description: RouteDescription| {
        description
            .caller(Caller::Administrator)
            .required_body::<Id>("inbox_id")
            .required_body::<Vec<Id>>("user_ids")
    };
    ApiRouter::new("Inboxes")
        .get(
            &format!("{MEMBERS}/{{inbox_id}}"),
            list,
            describe("listInboxMembers", "InboxesService.ListInboxMembers").returns::<Payload<Vec<Agent>>>(),
        )
        .post(
            MEMBERS,
            add,
            change(describe("addInboxMembers", "InboxesService.AddInboxMembers")).returns::<Payload<Vec<Agent>>>(),
        )
        .update(
            MEMBERS,
            set,
            change(describe("setInboxMembers", "InboxesService.SetInboxMembers")).returns::<Payload<Vec<Agent>>>(),
        )
        .delete(
            MEMBERS,
            remove,
            change(describe("removeInboxMembers", "InboxesService.RemoveInboxMembers")),
        )
        .get(
            "/api/v1/accounts/{account_id}/assignable_agents",
            assignable,
            describe("listAssignableAgents", "InboxesService.ListAssignableAgents")
                .query::<Vec<Id>>("inbox_ids")
                .returns::<Payload<Vec<Agent>>>(),
        )
}

fn agents_response(agents: Vec<pb::Agent>) -> axum::response::Response {
    let agents: Vec<_> = agents.into_iter().map(Agent::from).collect();
    json::ok(&Payload { payload: agents })
}

async fn list(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let (account_id, inbox_id) = (fields.account(), fields.path_id("inbox_id"));
    let request = pb::ListInboxMembersRequest {
        account_id,
        inbox_id,
        ..Default::default()
    };
    rows::all_rows(call, request, |payload| Payload { payload }, Agent::from).await
}

/// The account, the inbox and the users. A missing inbox id gets "not found", like an unknown one.
async fn membership_change(call: &Call, fields: &ParamReader<'_>) -> Result<(i64, i64, Vec<i64>), ApiError> {
    let account_id = fields.account();
    let users = call.authorize_error(account_id, fields.users()).await?;
    Ok((account_id, fields.path_id("inbox_id"), users))
}

async fn add(call: Call, params: Params) -> ApiResult {
    let (account_id, inbox_id, user_ids) = membership_change(&call, &params.fields()).await?;
    let request = pb::AddInboxMembersRequest {
        account_id,
        request_id: call.request_id(),
        inbox_id,
        user_ids,
    };
    let after = call.send(request).await?;
    Ok(agents_response(after.members))
}

async fn set(call: Call, params: Params) -> ApiResult {
    let (account_id, inbox_id, user_ids) = membership_change(&call, &params.fields()).await?;
    let request = pb::SetInboxMembersRequest {
        account_id,
        request_id: call.request_id(),
        inbox_id,
        user_ids,
    };
    let after = call.send(request).await?;
    Ok(agents_response(after.members))
}

async fn remove(call: Call, params: Params) -> ApiResult {
    let (account_id, inbox_id, user_ids) = membership_change(&call, &params.fields()).await?;
    let request = pb::RemoveInboxMembersRequest {
        account_id,
        request_id: call.request_id(),
        inbox_id,
        user_ids,
    };
    call.send(request).await?;
    Ok(json::empty())
}

async fn assignable(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let (account_id, inbox_ids) = (fields.account(), fields.ids("inbox_ids").unwrap_or_default());
    let request = pb::ListAssignableAgentsRequest {
        account_id,
        inbox_ids,
        ..Default::default()
    };
    rows::all_rows(call, request, |payload| Payload { payload }, Agent::from).await
}
