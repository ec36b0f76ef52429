//! Audit logs, in the format of Chatwoot's enterprise edition.

use std::sync::Arc;

use parley_proto as pb;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json::{json_type::json_type, values::Empty},
    lists::{
        pagination::PageWindow,
        rows::{self, Rows},
    },
    openapi::{Caller, describe},
    params::{Params, timestamps::Unix},
};

/// Entries per page, as in Chatwoot.
const PAGE: i32 = 15;

pub fn routes() -> ApiRouter {
    ApiRouter::new("Audit logs").get(
        "/api/v1/accounts/{account_id}/audit_logs",
        list,
        describe("listAuditLogs", "AuditService.ListAuditEvents")
            .caller(Caller::Administrator)
            .query::<i64>("page")
            .returns::<AuditPage>(),
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
    let frame = |audit_logs| AuditPage {
        per_page: PAGE.into(),
        total_entries: total,
        current_page: page,
        audit_logs,
    };
    let entries = found.audit_events.into_iter().map(AuditLog::from).collect();
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
            Ok((found.audit_events.into_iter().map(AuditLog::from).collect(), found.next_page_token))
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

json_type! {
    /// One administrative call.
    pub struct AuditLog(event: pb::AuditEvent) with {
        let actor = event.actor.unwrap_or_default();
        let kind = match actor.r#type() {
            pb::ActorType::Unspecified => None,
            pb::ActorType::User => Some("User"),
            pb::ActorType::AgentBot => Some("AgentBot"),
            pb::ActorType::Contact => Some("Contact"),
            pb::ActorType::Service => Some("Service"),
            pb::ActorType::Platform => Some("PlatformApp"),
        };
        let code = tonic::Code::from(event.code);
    } {
        id: i64 = event.id,
        /// Id of the resource, if the call concerns one.
        auditable_id: Option<i64> = event.resource_id,
        /// Type of the resource.
        auditable_type: String = auditable_type(&event.method).to_owned(),
        /// Always null.
        auditable: Option<Empty> = None,
        /// Id of the account.
        associated_id: Option<i64> = event.account_id,
        /// Always `Account`, or null if the call concerns no account.
        associated_type: Option<&'static str> = event.account_id.map(|_| "Account"),
        /// Id of the caller.
        user_id: Option<i64> = kind.map(|_| actor.id),
        /// Type of the caller.
        user_type: Option<&'static str> = kind,
        /// Name of the caller at the time of the call.
        username: Option<String> = kind.map(|_| actor.name),
        /// What was done, such as `create`, `update` or `destroy`.
        action: &'static str = action(&event.method),
        /// Always empty: the changed values are in the account's events.
        audited_changes: Empty = Empty {},
        /// Always 1.
        version: i64 = 1,
        /// gRPC status code of a call that was refused; null if the call succeeded.
        comment: Option<String> = (code != tonic::Code::Ok).then(|| format!("{code:?}")),
        /// Always null.
        request_uuid: Option<String> = None,
        created_at: Unix = event.occurred_at.into(),
        /// Address that the call came from.
        remote_address: Option<String> = Some(event.peer_address).filter(|address| !address.is_empty()),
        /// Method of the gRPC API.
        method: String = event.method,
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct AuditPage {
    per_page: i64,
    total_entries: i64,
    current_page: i64,
    audit_logs: Rows<AuditLog>,
}
