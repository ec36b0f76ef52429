//! Audit logs, in the format of Chatwoot's enterprise edition.

use std::sync::Arc;

use parley_proto as pb;
use serde_json::{Value as Json, json};

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    lists::{pagination::PageWindow, rows},
    openapi::{
        Caller, describe,
        schema::{Schema, integer, list as list_of, object, text, unix},
    },
    params::{Params, timestamps},
};

/// Entries per page, as in Chatwoot.
const PAGE: i32 = 15;

pub fn routes() -> ApiRouter {
    ApiRouter::new("Audit logs").get(
        "/api/v1/accounts/{account_id}/audit_logs",
        list,
        describe("listAuditLogs", "AuditService.ListAuditEvents")
            .caller(Caller::Administrator)
            .query("page", integer().note("From 1."))
            .returns(
                object()
                    .key("per_page", integer())
                    .key("total_entries", integer())
                    .key("current_page", integer())
                    .key("audit_logs", list_of(entry_schema())),
            ),
    )
}

async fn list(call: Call, params: Params) -> ApiResult {
    let fields = params.fields();
    let window = PageWindow::numbered(&fields, PAGE);
    // The operator may call the gRPC method, but not the routes of accounts.
    call.authorize(fields.account()).await?;
    let request = pb::ListAuditEventsRequest {
        account_id: Some(fields.account()),
        page_size: window.size,
        skip: window.skip,
        with_total_size: true,
        ..Default::default()
    };
    let found = call.send(request.clone()).await?;
    let (total, page) = (found.total_size.unwrap_or_default(), fields.page());
    let frame = |entries| json!({ "per_page": PAGE, "total_entries": total, "current_page": page, "audit_logs": entries });
    let entries = found.audit_events.iter().map(entry).collect();
    let first = (entries, window.cut(found.next_page_token));
    let call = Arc::new(call);
    Ok(rows::paginated(first, window.rows, frame, move |page_token, size| {
        let request = pb::ListAuditEventsRequest {
            page_token,
            page_size: size.try_into().unwrap_or(PAGE),
            skip: 0,
            with_total_size: false,
            ..request.clone()
        };
        let call = Arc::clone(&call);
        async move {
            let found = call.send(request).await?;
            Ok((found.audit_events.iter().map(entry).collect(), found.next_page_token))
        }
    }))
}

/// The type of an entry's resource in Chatwoot's naming: the type of `LabelsService/DeleteLabel` is `Label`.
fn auditable_type(method: &str) -> &str {
    let service = method.split('/').next().unwrap_or_default();
    let service = service.rsplit('.').next().unwrap_or_default();
    let name = service.strip_suffix("Service").unwrap_or(service);
    match name {
        "Inboxes" => "Inbox",
        _ => name.strip_suffix('s').unwrap_or(name),
    }
}

fn action(method: &str) -> &'static str {
    let call = method.rsplit('/').next().unwrap_or_default();
    match call {
        _ if call.starts_with("Create") || call.starts_with("Add") => "create",
        _ if call.starts_with("Delete") || call.starts_with("Remove") || call.starts_with("Revoke") => "destroy",
        "RedeemLogin" => "sign_in",
        _ => "update",
    }
}

fn entry(event: &pb::AuditEvent) -> Json {
    let actor = event.actor.clone().unwrap_or_default();
    let kind = match actor.r#type() {
        pb::ActorType::Unspecified => None,
        pb::ActorType::User => Some("User"),
        pb::ActorType::AgentBot => Some("AgentBot"),
        pb::ActorType::Contact => Some("Contact"),
        pb::ActorType::Service => Some("Service"),
        pb::ActorType::Platform => Some("PlatformApp"),
    };
    let code = tonic::Code::from(event.code);
    json!({
        "id": event.id,
        "auditable_id": event.resource_id,
        "auditable_type": auditable_type(&event.method),
        "auditable": null,
        "associated_id": event.account_id,
        "associated_type": event.account_id.map(|_| "Account"),
        "user_id": kind.map(|_| actor.id),
        "user_type": kind,
        "username": kind.map(|_| actor.name),
        "action": action(&event.method),
        "audited_changes": {},
        "version": 1,
        "comment": (code != tonic::Code::Ok).then(|| format!("{code:?}")),
        "request_uuid": null,
        "created_at": timestamps::unix(event.occurred_at.as_ref()),
        "remote_address": Some(&event.peer_address).filter(|address| !address.is_empty()),
        "method": event.method,
    })
}

fn entry_schema() -> Schema {
    object()
        .key("id", integer())
        .key(
            "auditable_id",
            integer().or_null().note("What the request names, if it names one thing."),
        )
        .key("auditable_type", text())
        .key("auditable", object().or_null().note("Always null."))
        .key("associated_id", integer().or_null())
        .key("associated_type", text().or_null())
        .key("user_id", integer().or_null())
        .key("user_type", text().or_null())
        .key("username", text().or_null().note("The name at that time."))
        .key("action", text())
        .key(
            "audited_changes",
            object().note("Always empty: values are in the events of the account."),
        )
        .key("version", integer())
        .key("comment", text().or_null().note("The gRPC code of a call that was refused."))
        .key("request_uuid", text().or_null())
        .key("created_at", unix())
        .key("remote_address", text().or_null())
        .key("method", text().note("The method of the gRPC API."))
        .named("AuditLog")
}
