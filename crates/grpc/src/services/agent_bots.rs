//! Implements `AgentBotsService`, which manages agent bots.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Domain,
    inboxes::agent_bots::{AgentBotPatch, AgentBots, NewAgentBot},
    joined::Inbox,
};
use parley_eventlog::conversion::{CredentialsShown, FromStored as _, ToProto as _, inbox_of};
use parley_proto::{self as pb, agent_bots_service_server::AgentBotsService};
use parley_types::{
    error::Result,
    id::{AccountId, AgentBotId, InboxId},
};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    request::{caller, idempotent_call, resource_call_in},
    response::{found, resource_response, to_response},
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum length of a description in characters.
const TEXT: usize = 20_000;

/// Maximum length of a URL in characters.
const URL: usize = 2048;

/// Returns the account under which the response to an idempotent request is stored; 0 if the bot belongs to no account.
fn idempotency_account(account_id: Option<i64>) -> AccountId {
    AccountId(account_id.unwrap_or_default())
}

/// Implements `AgentBotsService`.
#[derive(Clone, Debug)]
pub struct AgentBotsApi {
    agent_bots: AgentBots,
}

impl AgentBotsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            agent_bots: domain.agent_bots.clone(),
        }
    }
}

#[tonic::async_trait]
impl AgentBotsService for AgentBotsApi {
    async fn create_agent_bot(&self, request: Request<pb::CreateAgentBotRequest>) -> Result<Response<pb::CreateAgentBotResponse>, Status> {
        let account = request.get_ref().account_id.map(AccountId);
        let caller = caller(&request).or_status()?;
        match account {
            Some(account) => caller.administer_or_platform(account).or_status()?,
            None => caller.platform().or_status()?,
        }
        let mut fields = Validator::default();
        let call = resource_call_in(idempotency_account(request.get_ref().account_id), &mut fields, &request).or_status()?;
        let req = request.into_inner();
        fields.required_name("name", &req.name, SHORT_TEXT);
        fields.text("description", &req.description, TEXT);
        fields.url("outgoing_url", &req.outgoing_url, URL);
        fields.url("avatar_url", &req.avatar_url, URL);
        fields.finish().or_status()?;
        let new = NewAgentBot {
            name: req.name,
            description: req.description,
            outgoing_url: req.outgoing_url,
            avatar_url: req.avatar_url,
        };
        resource_response(self.agent_bots.create(call, account, new).await.or_status()?).or_status()
    }

    async fn get_agent_bot(&self, request: Request<pb::GetAgentBotRequest>) -> Result<Response<pb::GetAgentBotResponse>, Status> {
        let req = request.get_ref();
        let account = req.account_id.map(AccountId);
        let bot = self
            .agent_bots
            .get(&*caller(&request).or_status()?, account, AgentBotId(req.agent_bot_id))
            .await
            .or_status()?;
        Ok(found(&bot))
    }

    async fn list_agent_bots(&self, request: Request<pb::ListAgentBotsRequest>) -> Result<Response<pb::ListAgentBotsResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 100);
        fields.finish().or_status()?;
        let account = req.account_id.map(AccountId);
        let found = self
            .agent_bots
            .list(&*caller(&request).or_status()?, account, &page)
            .await
            .or_status()?;
        Ok(page::response(req, &found, pb::AgentBot::from_stored))
    }

    async fn update_agent_bot(&self, request: Request<pb::UpdateAgentBotRequest>) -> Result<Response<pb::UpdateAgentBotResponse>, Status> {
        let account = request.get_ref().account_id.map(AccountId);
        let caller = caller(&request).or_status()?;
        match account {
            Some(account) => caller.administer_or_platform(account).or_status()?,
            None => caller.platform().or_status()?,
        }
        let mut fields = Validator::default();
        let call = resource_call_in(idempotency_account(request.get_ref().account_id), &mut fields, &request).or_status()?;
        let req = request.into_inner();
        let bot = required("agent_bot", req.agent_bot).or_status()?;
        let paths = mask(&mut fields, req.update_mask);
        let patch = fields.within("agent_bot", |fields| patch(fields, &bot, paths));
        fields.finish().or_status()?;
        resource_response(self.agent_bots.update(call, account, AgentBotId(bot.id), patch).await.or_status()?).or_status()
    }

    async fn delete_agent_bot(&self, request: Request<pb::DeleteAgentBotRequest>) -> Result<Response<pb::DeleteAgentBotResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let call = resource_call_in(idempotency_account(req.account_id), &mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        let account = req.account_id.map(AccountId);
        resource_response(
            self.agent_bots
                .delete(call, account, AgentBotId(req.agent_bot_id))
                .await
                .or_status()?,
        )
        .or_status()
    }

    async fn get_inbox_agent_bot(
        &self,
        request: Request<pb::GetInboxAgentBotRequest>,
    ) -> Result<Response<pb::GetInboxAgentBotResponse>, Status> {
        let req = request.get_ref();
        let (account, inbox) = (AccountId(req.account_id), InboxId(req.inbox_id));
        let bot = self
            .agent_bots
            .of_inbox(&*caller(&request).or_status()?, account, inbox)
            .await
            .or_status()?;
        Ok(Response::new(pb::GetInboxAgentBotResponse {
            active: bot.as_ref().is_some_and(|(_, active)| *active),
            agent_bot: bot.map(|(bot, _)| bot.as_ref().to_proto()),
        }))
    }

    async fn set_inbox_agent_bot(
        &self,
        request: Request<pb::SetInboxAgentBotRequest>,
    ) -> Result<Response<pb::SetInboxAgentBotResponse>, Status> {
        let req = request.get_ref();
        let respond = |inbox: &Arc<Inbox>, cursor: Bytes| pb::SetInboxAgentBotResponse {
            inbox: Some(inbox_of(inbox, CredentialsShown::Everything)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        fields.finish().or_status()?;
        let bot = req.agent_bot_id.map(|id| (AgentBotId(id), !req.inactive));
        to_response(
            self.agent_bots.set_of_inbox(call, InboxId(req.inbox_id), bot).await.or_status()?,
            respond,
        )
    }
}

fn patch(fields: &mut Validator, bot: &pb::AgentBot, paths: Vec<String>) -> AgentBotPatch {
    let mut patch = AgentBotPatch::default();
    for path in paths {
        match path.as_str() {
            "name" => {
                fields.required_name("name", &bot.name, SHORT_TEXT);
                patch.name = Some(bot.name.clone());
            }
            "description" => {
                fields.text("description", &bot.description, TEXT);
                patch.description = Some(bot.description.clone());
            }
            "outgoing_url" => {
                fields.url("outgoing_url", &bot.outgoing_url, URL);
                patch.outgoing_url = Some(bot.outgoing_url.clone());
            }
            "avatar_url" => {
                fields.url("avatar_url", &bot.avatar_url, URL);
                patch.avatar_url = Some(bot.avatar_url.clone());
            }
            other => fields.unknown_path(other),
        }
    }
    patch
}
