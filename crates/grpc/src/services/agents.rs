//! The methods of `AccountsService` for agents: account members, created by e-mail address.

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
    fit,
    request::{caller, change},
    response::answered,
};
use crate::{
    status::OrStatus as _,
    validation::fields::{Fields, SHORT},
};

/// Maximum number of addresses in one call.
const MOST: usize = 100;

fn address(fields: &mut Fields, field: &str, email: &str) -> String {
    let read = fields.email(field, Some(email.to_owned()));
    if email.trim().is_empty() {
        fields.refuse(field, Rule::Required, "must be given");
    }
    read.unwrap_or_default()
}

impl AccountsApi {
    pub(super) async fn agent_created(
        &self,
        request: Request<pb::CreateAgentRequest>,
    ) -> Result<Response<pb::CreateAgentResponse>, Status> {
        let asked = request.get_ref();
        caller(&request).or_status()?.administer(AccountId(asked.account_id)).or_status()?;
        let respond = |agent: &Agent, cursor: Bytes| pb::CreateAgentResponse {
            agent: Some(agent.to_proto()),
            cursor,
        };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, AccountId(asked.account_id), respond).or_status()?;
        let email = address(&mut fields, "email", &asked.email);
        fields.required_name("name", &asked.name, SHORT);
        let new = membership(&mut fields, asked.role, asked.availability, asked.auto_offline);
        fields.done().or_status()?;
        answered(self.agents.create(call, email, asked.name.clone(), new).await.or_status()?, respond)
    }

    pub(super) async fn agents_created(
        &self,
        request: Request<pb::CreateAgentsRequest>,
    ) -> Result<Response<pb::CreateAgentsResponse>, Status> {
        let asked = request.get_ref();
        caller(&request).or_status()?.administer(AccountId(asked.account_id)).or_status()?;
        let respond = |agents: &Vec<Agent>, cursor: Bytes| pb::CreateAgentsResponse {
            agents: fit::agents(agents.iter().map(ToProto::to_proto)),
            cursor,
        };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, AccountId(asked.account_id), respond).or_status()?;
        fields.count("emails", asked.emails.len(), MOST);
        let emails = asked.emails.iter().take(MOST).enumerate();
        let emails = emails
            .map(|(nth, email)| address(&mut fields, &format!("emails[{nth}]"), email))
            .collect();
        fields.done().or_status()?;
        answered(self.agents.create_many(call, emails).await.or_status()?, respond)
    }

    pub(super) async fn agent_updated(
        &self,
        request: Request<pb::UpdateAgentRequest>,
    ) -> Result<Response<pb::UpdateAgentResponse>, Status> {
        let asked = request.get_ref();
        caller(&request)
            .or_status()?
            .write_access(AccountId(asked.account_id))
            .or_status()?;
        let respond = |agent: &Agent, cursor: Bytes| pb::UpdateAgentResponse {
            agent: Some(agent.to_proto()),
            cursor,
        };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, AccountId(asked.account_id), respond).or_status()?;
        if let Some(name) = &asked.name {
            fields.required_name("name", name, SHORT);
        }
        let patch = membership(&mut fields, asked.role, asked.availability, asked.auto_offline);
        fields.done().or_status()?;
        let updated = self.agents.update(call, UserId(asked.user_id), asked.name.clone(), patch);
        answered(updated.await.or_status()?, respond)
    }
}
