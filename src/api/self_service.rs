//! The part of `AccountsService` that members use for themselves, and the cache keys of what they see.

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::{Api, accounts::membership, answered, caller, change, fields::Fields, identity};
use crate::events::conversion::ToProto as _;
use crate::{
    chat::{cache_keys::CacheKeys, joined::Agent},
    error::Result,
    id::AccountId,
    pb,
};

impl From<CacheKeys> for pb::CacheKeys {
    fn from(keys: CacheKeys) -> Self {
        Self {
            label: keys.label,
            inbox: keys.inbox,
            team: keys.team,
        }
    }
}

impl Api {
    pub(super) async fn own_availability_updated(
        &self,
        request: Request<pb::UpdateOwnAvailabilityRequest>,
    ) -> Result<Response<pb::UpdateOwnAvailabilityResponse>, Status> {
        let asked = request.get_ref();
        let (identity, account) = (identity(&request)?, AccountId(asked.account_id));
        identity.caller.write_access(account)?;
        // The request does not name the user, whom the audit event is about.
        let user = identity.caller.user_id().map(|user| ("user_id", user.0));
        identity.concerns(Some(account), user);
        let respond = |agent: &Agent, cursor: Bytes| pb::UpdateOwnAvailabilityResponse {
            agent: Some(agent.to_proto()),
            cursor,
        };
        let mut fields = Fields::default();
        let patch = membership(&mut fields, 0, asked.availability, asked.auto_offline);
        let call = change(&mut fields, &request, account, respond)?;
        fields.done()?;
        let updated = self.chat.update_own_availability(call, patch.availability, patch.auto_offline);
        answered(updated.await?, respond)
    }

    pub(super) async fn active_account_set(
        &self,
        request: Request<pb::SetActiveAccountRequest>,
    ) -> Result<Response<pb::SetActiveAccountResponse>, Status> {
        let (caller, asked) = (caller(&request)?, request.get_ref());
        let account = AccountId(asked.account_id);
        caller.write_access(account)?;
        let mut fields = Fields::default();
        fields.request_id(&asked.request_id);
        fields.done()?;
        let head = self.chat.set_active_account(&caller, account).await?;
        Ok(Response::new(pb::SetActiveAccountResponse { cursor: head.encode() }))
    }

    pub(super) async fn cache_keys_read(
        &self,
        request: Request<pb::GetCacheKeysRequest>,
    ) -> Result<Response<pb::GetCacheKeysResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        let keys = self.chat.cache_keys(&*caller(&request)?, account).await?;
        Ok(Response::new(pb::GetCacheKeysResponse {
            cache_keys: Some(keys.into()),
        }))
    }
}
