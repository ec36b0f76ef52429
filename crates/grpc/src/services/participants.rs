//! `ParticipantsService`.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Domain,
    conversations::participants::{ChangedParticipants, Participants, ParticipantsPatch},
    joined::Agent,
};
use parley_eventlog::conversion::FromStored as _;
use parley_proto::{self as pb, participants_service_server::ParticipantsService};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, ConversationId, UserId},
};
use tonic::{Request, Response, Status};

use super::{
    fit,
    request::{caller, change},
    response::answered,
};
use crate::{
    status::OrStatus as _,
    validation::{fields::Fields, page},
};

/// Maximum number of users in one call.
const MOST: usize = 1000;

/// Implements a method that changes the participants of a conversation.
macro_rules! changed {
    ($self:ident, $request:ident, $respond:expr, $patch:expr) => {{
        let asked = $request.get_ref();
        let account = AccountId(asked.account_id);
        caller(&$request).or_status()?.write_access(account).or_status()?;
        let mut fields = Fields::default();
        let call = change(&mut fields, &$request, account, $respond).or_status()?;
        let users = users(&mut fields, &asked.user_ids);
        fields.done().or_status()?;
        let id = ConversationId(asked.conversation_id);
        answered($self.participants.update(call, id, $patch(users)).await.or_status()?, $respond)
    }};
}

/// Implements `ParticipantsService`.
#[derive(Clone, Debug)]
pub struct ParticipantsApi {
    participants: Participants,
}

impl ParticipantsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            participants: domain.participants.clone(),
        }
    }
}

#[tonic::async_trait]
impl ParticipantsService for ParticipantsApi {
    async fn list_participants(
        &self,
        request: Request<pb::ListParticipantsRequest>,
    ) -> Result<Response<pb::ListParticipantsResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        let caller = caller(&request).or_status()?;
        caller.access(account).or_status()?;
        let same = pb::ListParticipantsRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        };
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 1000), &asked.page_token, 0);
        fields.done().or_status()?;
        let id = ConversationId(asked.conversation_id);
        let found = self.participants.list(&caller, account, id, &page).await.or_status()?;
        let (participants, next_page_token) = page::fill(&same, &found, pb::Agent::from_stored);
        Ok(Response::new(pb::ListParticipantsResponse {
            participants,
            next_page_token,
        }))
    }

    async fn add_participants(
        &self,
        request: Request<pb::AddParticipantsRequest>,
    ) -> Result<Response<pb::AddParticipantsResponse>, Status> {
        let respond = |after: &ChangedParticipants, cursor: Bytes| pb::AddParticipantsResponse {
            added: agents(&after.added),
            cursor,
        };
        changed!(self, request, respond, ParticipantsPatch::Add)
    }

    async fn remove_participants(
        &self,
        request: Request<pb::RemoveParticipantsRequest>,
    ) -> Result<Response<pb::RemoveParticipantsResponse>, Status> {
        let respond = |_: &ChangedParticipants, cursor: Bytes| pb::RemoveParticipantsResponse { cursor };
        changed!(self, request, respond, ParticipantsPatch::Remove)
    }

    async fn set_participants(
        &self,
        request: Request<pb::SetParticipantsRequest>,
    ) -> Result<Response<pb::SetParticipantsResponse>, Status> {
        let respond = |after: &ChangedParticipants, cursor: Bytes| pb::SetParticipantsResponse {
            participants: agents(&after.all),
            cursor,
        };
        changed!(self, request, respond, ParticipantsPatch::Set)
    }
}

fn agents(agents: &[Arc<Agent>]) -> Vec<pb::Agent> {
    fit::agents(agents.iter().map(|agent| pb::Agent::from_stored(agent.as_ref())))
}

fn users(fields: &mut Fields, ids: &[i64]) -> Vec<UserId> {
    fields.count("user_ids", ids.len(), MOST);
    if ids.iter().any(|id| *id <= 0) {
        fields.refuse("user_ids", Rule::Invalid, "must be ids, which are above 0");
    }
    ids.iter().copied().map(UserId).collect()
}
