//! `PresenceService`.

use tonic::{Request, Response, Status};

use super::{Api, caller, fields::Fields};
use crate::{
    error::Result,
    id::{AccountId, ContactId},
    pb::{self, presence_service_server::PresenceService},
};

#[tonic::async_trait]
impl PresenceService for Api {
    async fn report_presence(&self, request: Request<pb::ReportPresenceRequest>) -> Result<Response<pb::ReportPresenceResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        let caller = caller(&request)?;
        caller.write_access(account)?;
        let mut fields = Fields::default();
        let contact = asked.contact_id.map(|contact| ContactId(fields.id("contact_id", contact)));
        fields.done()?;
        let head = self.chat.report_presence(&caller, account, contact).await?;
        Ok(Response::new(pb::ReportPresenceResponse { cursor: head.encode() }))
    }
}
