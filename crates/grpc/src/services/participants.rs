//! Implements `ParticipantsService`, which manages the participants of conversations.

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
    request::{caller, idempotent_call},
    response::to_response,
    truncation,
};
use crate::{
    status::OrStatus as _,
    validation::{fields::Validator, page},
};

/// Maximum number of users in one call.
const MAX_USERS: usize = 1000;

/// Expands to the body of a method that changes the participants of a conversation.
macro_rules! change_participants {
    ($self:ident, $request:ident, $respond:expr, $patch:expr) => {{
        let req = $request.get_ref();
        let account = AccountId(req.account_id);
        caller(&$request).or_status()?.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &$request, account, $respond).or_status()?;
        let users = users(&mut fields, &req.user_ids);
        fields.finish().or_status()?;
        let id = ConversationId(req.conversation_id);
        to_response($self.participants.update(call, id, $patch(users)).await.or_status()?, $respond)
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
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 1000);
        fields.finish().or_status()?;
        let id = ConversationId(req.conversation_id);
        let found = self.participants.list(&caller, account, id, &page).await.or_status()?;
        Ok(page::response(req, &found, pb::Agent::from_stored))
    }

    async fn add_participants(
        &self,
        request: Request<pb::AddParticipantsRequest>,
    ) -> Result<Response<pb::AddParticipantsResponse>, Status> {
        let respond = |after: &ChangedParticipants, cursor: Bytes| pb::AddParticipantsResponse {
            added: agents(&after.added),
            cursor,
        };
        change_participants!(self, request, respond, ParticipantsPatch::Add)
    }

    async fn remove_participants(
        &self,
        request: Request<pb::RemoveParticipantsRequest>,
    ) -> Result<Response<pb::RemoveParticipantsResponse>, Status> {
        let respond = |_: &ChangedParticipants, cursor: Bytes| pb::RemoveParticipantsResponse { cursor };
        change_participants!(self, request, respond, ParticipantsPatch::Remove)
    }

    async fn set_participants(
        &self,
        request: Request<pb::SetParticipantsRequest>,
    ) -> Result<Response<pb::SetParticipantsResponse>, Status> {
        let respond = |after: &ChangedParticipants, cursor: Bytes| pb::SetParticipantsResponse {
            participants: agents(&after.all),
            cursor,
        };
        change_participants!(self, request, respond, ParticipantsPatch::Set)
    }
}

fn agents(agents: &[Arc<Agent>]) -> Vec<pb::Agent> {
    truncation::agents(agents.iter().map(|agent| pb::Agent::from_stored(agent.as_ref())))
}

fn users(fields: &mut Validator, ids: &[i64]) -> Vec<UserId> {
    fields.count("user_ids", ids.len(), MAX_USERS);
    if ids.iter().any(|id| *id <= 0) {
        fields.add_violation("user_ids", Rule::Invalid, "must be positive ids");
    }
    ids.iter().copied().map(UserId).collect()
}
