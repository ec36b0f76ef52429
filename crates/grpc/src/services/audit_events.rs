//! Implements `AuditService`, which lists the audit log of administrative calls.

use parley_domain::{
    Domain,
    audit::{AuditRow, list::AuditEvents},
};
use parley_proto::{self as pb, audit_service_server::AuditService, rpc::PagedRequest as _, value::timestamp};
use parley_types::id::AccountId;
use tonic::{Request, Response, Status};

use super::request::caller;
use crate::{
    status::OrStatus as _,
    validation::{fields::Validator, page},
};

/// The default number of audit events per page.
const PAGE: i32 = 100;

/// Implements `AuditService`.
#[derive(Clone, Debug)]
pub struct AuditApi {
    audit_events: AuditEvents,
}

impl AuditApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            audit_events: domain.audit_events.clone(),
        }
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.into_inner();
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, &req, PAGE);
        fields.finish().or_status()?;
        // Store the pending events first: the list must include events that this replica has recorded but not stored yet.
        self.audit_events.flush().await;
        let account = req.account_id.map(AccountId);
        let (found, total) = self
            .audit_events
            .list(&caller, account, &page, req.with_total_size)
            .await
            .or_status()?;
        let (audit_events, next_page_token) = page::fill(&req.without_paging(), &found, |row| event(row.clone()));
        Ok(Response::new(pb::ListAuditEventsResponse {
            audit_events,
            next_page_token,
            total_size: total.and_then(|total| i64::try_from(total).ok()),
        }))
    }
}

fn event(row: AuditRow) -> pb::AuditEvent {
    let actor = (row.actor_type != 0).then(|| pb::Actor {
        r#type: row.actor_type.into(),
        id: row.actor_id,
        name: row.actor_name,
    });
    pb::AuditEvent {
        id: row.id,
        account_id: Some(row.account_id.0).filter(|id| *id != 0),
        occurred_at: Some(timestamp(row.occurred_at)),
        actor,
        token_id: row.token_id.map(|id| id.0),
        method: row.method,
        resource_field: row.resource_field.unwrap_or_default(),
        resource_id: row.resource_id,
        peer_address: row.peer_address.unwrap_or_default(),
        code: row.code.into(),
    }
}
