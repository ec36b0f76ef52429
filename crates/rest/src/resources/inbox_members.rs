//! The members of an inbox, and the agents that conversations can be assigned to.

use parley_proto as pb;
use serde_json::json;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    lists::rows,
    openapi::{
        About, Caller, about,
        schema::{id, list as list_of, within},
    },
    params::{Params, fields::Fields},
};

pub fn routes() -> Door {
    const MEMBERS: &str = "/api/v1/accounts/{account_id}/inbox_members";
    let agents = || within("payload", list_of(json::agent::schema()));
    let change = |about: About| {
        about
            .caller(Caller::Administrator)
            .needs("inbox_id", id())
            .needs("user_ids", list_of(id()))
    };
    Door::new("Inboxes")
        .get(
            &format!("{MEMBERS}/{{inbox_id}}"),
            list,
            about("listInboxMembers", "InboxesService.ListInboxMembers").answers(agents()),
        )
        .post(
            MEMBERS,
            add,
            change(about("addInboxMembers", "InboxesService.AddInboxMembers")).answers(agents()),
        )
        .update(
            MEMBERS,
            set,
            change(about("setInboxMembers", "InboxesService.SetInboxMembers")).answers(agents()),
        )
        .delete(
            MEMBERS,
            remove,
            change(about("removeInboxMembers", "InboxesService.RemoveInboxMembers")),
        )
        .get(
            "/api/v1/accounts/{account_id}/assignable_agents",
            assignable,
            about("listAssignableAgents", "InboxesService.ListAssignableAgents")
                .query("inbox_ids", list_of(id()))
                .answers(agents()),
        )
}

fn shown(agents: &[pb::Agent]) -> axum::response::Response {
    let agents: Vec<_> = agents.iter().map(json::agent::agent).collect();
    json::ok(&json!({ "payload": agents }))
}

async fn list(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let (account_id, inbox_id) = (fields.account(), fields.path_id("inbox_id"));
    rows::whole(
        |rows| json!({ "payload": rows }),
        move |page_token| {
            let request = pb::ListInboxMembersRequest {
                account_id,
                inbox_id,
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.inboxes(), call.request(request));
            async move {
                let page = client.list_inbox_members(request).await?.into_inner();
                Ok((page.members.iter().map(json::agent::agent).collect(), page.next_page_token))
            }
        },
    )
    .await
}

/// The account, the inbox and the users. A missing inbox id gets "not found", like an unknown one.
async fn whom(call: &Call, fields: &Fields<'_>) -> Result<(i64, i64, Vec<i64>), Failure> {
    let account_id = fields.account();
    let users = call.admit(account_id, fields.users()).await?;
    Ok((account_id, fields.path_id("inbox_id"), users))
}

async fn add(call: Call, params: Params) -> Answer {
    let (account_id, inbox_id, user_ids) = whom(&call, &params.fields()).await?;
    let request = pb::AddInboxMembersRequest {
        account_id,
        request_id: call.request_id(),
        inbox_id,
        user_ids,
    };
    let after = call.inboxes().add_inbox_members(call.request(request)).await?.into_inner();
    Ok(shown(&after.members))
}

async fn set(call: Call, params: Params) -> Answer {
    let (account_id, inbox_id, user_ids) = whom(&call, &params.fields()).await?;
    let request = pb::SetInboxMembersRequest {
        account_id,
        request_id: call.request_id(),
        inbox_id,
        user_ids,
    };
    let after = call.inboxes().set_inbox_members(call.request(request)).await?.into_inner();
    Ok(shown(&after.members))
}

async fn remove(call: Call, params: Params) -> Answer {
    let (account_id, inbox_id, user_ids) = whom(&call, &params.fields()).await?;
    let request = pb::RemoveInboxMembersRequest {
        account_id,
        request_id: call.request_id(),
        inbox_id,
        user_ids,
    };
    call.inboxes().remove_inbox_members(call.request(request)).await?;
    Ok(json::empty())
}

async fn assignable(call: Call, params: Params) -> Answer {
    let fields = params.fields();
    let (account_id, inbox_ids) = (fields.account(), fields.ids("inbox_ids").unwrap_or_default());
    rows::whole(
        |rows| json!({ "payload": rows }),
        move |page_token| {
            let request = pb::ListAssignableAgentsRequest {
                account_id,
                inbox_ids: inbox_ids.clone(),
                page_token,
                ..Default::default()
            };
            let (mut client, request) = (call.inboxes(), call.request(request));
            async move {
                let page = client.list_assignable_agents(request).await?.into_inner();
                Ok((page.agents.iter().map(json::agent::agent).collect(), page.next_page_token))
            }
        },
    )
    .await
}
