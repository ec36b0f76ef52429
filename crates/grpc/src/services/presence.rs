//! Implements `PresenceService`, through which members report their presence.

use parley_domain::{Domain, people::presence::Presence};
use parley_proto::{self as pb, presence_service_server::PresenceService};
use parley_types::{
    error::Result,
    id::{AccountId, ContactId},
};
use tonic::{Request, Response, Status};

use super::request::caller;
use crate::{status::OrStatus as _, validation::fields::Validator};

/// Implements `PresenceService`.
#[derive(Clone, Debug)]
pub struct PresenceApi {
    presence: Presence,
}

impl PresenceApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            presence: domain.presence.clone(),
        }
    }
}

#[tonic::async_trait]
impl PresenceService for PresenceApi {
    async fn report_presence(&self, request: Request<pb::ReportPresenceRequest>) -> Result<Response<pb::ReportPresenceResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let contact = req.contact_id.map(|contact| ContactId(fields.id("contact_id", contact)));
        fields.finish().or_status()?;
        let head = self.presence.report(&caller, account, contact).await.or_status()?;
        Ok(Response::new(pb::ReportPresenceResponse { cursor: head.encode() }))
    }
}
