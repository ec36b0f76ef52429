//! The agent methods of `AccountsService`. Agents are account members, created by e-mail address.

use bytes::Bytes;
use parley_domain::joined::Agent;
use parley_eventlog::conversion::ToProto;
use parley_proto as pb;
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, UserId},
};
use tonic::{Request, Response, Status};

use super::{
    accounts::{AccountsApi, membership},
    request::{caller, idempotent_call, resource_call},
    response::{resource_response, to_response},
    truncation,
};
use crate::{
    status::OrStatus as _,
    validation::fields::{SHORT_TEXT, Validator},
};

/// Maximum number of e-mail addresses in one call.
const MAX_EMAILS: usize = 100;

fn address(fields: &mut Validator, field: &str, email: &str) -> String {
    let read = fields.email(field, Some(email.to_owned()));
    if email.trim().is_empty() {
        fields.add_violation(field, Rule::Required, "must be given");
    }
    read.unwrap_or_default()
}

impl AccountsApi {
    pub(super) async fn handle_create_agent(
        &self,
        request: Request<pb::CreateAgentRequest>,
    ) -> Result<Response<pb::CreateAgentResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.administer(AccountId(req.account_id)).or_status()?;
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        let email = address(&mut fields, "email", &req.email);
        fields.required_name("name", &req.name, SHORT_TEXT);
        let new = membership(&mut fields, req.role, req.availability, req.auto_offline);
        fields.finish().or_status()?;
        resource_response(self.agents.create(call, email, req.name.clone(), new).await.or_status()?).or_status()
    }

    pub(super) async fn handle_create_agents(
        &self,
        request: Request<pb::CreateAgentsRequest>,
    ) -> Result<Response<pb::CreateAgentsResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.administer(AccountId(req.account_id)).or_status()?;
        let respond = |agents: &Vec<Agent>, cursor: Bytes| pb::CreateAgentsResponse {
            agents: truncation::agents(agents.iter().map(ToProto::to_proto)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        fields.count("emails", req.emails.len(), MAX_EMAILS);
        let emails = req.emails.iter().take(MAX_EMAILS).enumerate();
        let emails = emails
            .map(|(nth, email)| address(&mut fields, &format!("emails[{nth}]"), email))
            .collect();
        fields.finish().or_status()?;
        to_response(self.agents.create_many(call, emails).await.or_status()?, respond)
    }

    pub(super) async fn handle_update_agent(
        &self,
        request: Request<pb::UpdateAgentRequest>,
    ) -> Result<Response<pb::UpdateAgentResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        if let Some(name) = &req.name {
            fields.required_name("name", name, SHORT_TEXT);
        }
        let patch = membership(&mut fields, req.role, req.availability, req.auto_offline);
        fields.finish().or_status()?;
        let updated = self.agents.update(call, UserId(req.user_id), req.name.clone(), patch);
        resource_response(updated.await.or_status()?).or_status()
    }
}
